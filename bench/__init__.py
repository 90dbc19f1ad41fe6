"""Benchmarks: each prints ratios against the raw floor it was measured beside."""
