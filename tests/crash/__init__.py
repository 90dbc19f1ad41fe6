"""Crash points: at each, the process that reaches it is killed and started again; nothing is lost, doubled or left."""
