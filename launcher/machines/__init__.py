"""The parts of a machine that do not depend on its provider."""
