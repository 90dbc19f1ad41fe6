"""Machines under QEMU."""
