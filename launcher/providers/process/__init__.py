"""Machines that are processes of this host."""
