"""The orders in this launcher's hands."""
