"""Metrics: one file each, or one family of closely related ones."""
