"""The providers, which start machines, stop them and find them again."""
