"""Rules that only the control plane needs. No I/O."""
