"""Generators of documentation: `make docs`."""
