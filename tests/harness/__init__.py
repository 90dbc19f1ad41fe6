"""What the suites share that run the product as real processes: environment, processes, clients, observation."""
