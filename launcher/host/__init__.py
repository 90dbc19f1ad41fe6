"""The host that the launcher runs on."""
