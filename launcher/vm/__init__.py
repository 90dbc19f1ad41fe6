"""Machines and the providers that start them."""
