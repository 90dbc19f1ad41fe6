"""The composition root: how each service is made."""
