"""The Arke source: what it serves, and how it is read."""
