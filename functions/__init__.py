"""The control plane. `main` has the entry points, `http` alone knows HTTP, and `wiring` is the composition root."""
