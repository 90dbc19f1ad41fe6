"""The Arke source: its documents, and how to read them."""
