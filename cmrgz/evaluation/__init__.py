"""Metrics, regions and baselines."""
