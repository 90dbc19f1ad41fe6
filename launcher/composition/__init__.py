"""The composition root: turns settings into a running launcher."""
