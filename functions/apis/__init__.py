"""One folder a contract: its routes, wire models and dialect, over the one engine."""
