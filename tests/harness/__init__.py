"""Shared by the suites that run the product as real processes: environment, processes, clients, observation."""
