"""The daemon and its loops."""
