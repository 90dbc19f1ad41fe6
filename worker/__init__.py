"""The program inside the machine: reads its configuration, reports, runs the order's work, uploads the output."""
