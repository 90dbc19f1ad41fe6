"""Crash points: at each, the process that reaches it is killed and started again, and nothing may come of that."""
