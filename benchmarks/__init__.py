"""Measurements beside their limits, as ratios: `python -m benchmarks`."""
