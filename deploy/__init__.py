"""The operator's commands for a deployment: what a live project lacks, and the keys of its control plane."""
