"""The ports of the control plane. Each has an in-memory adapter, a real one, and one contract test suite for both."""
