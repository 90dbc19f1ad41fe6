"""Benchmarks. Each prints ratios to a baseline, which it measures in the same run."""
