"""The control plane: one thin module per deployed entry point; `endpoint` alone knows HTTP, `wiring` composes."""
