"""Figures: one file each; `draw.py` makes the SVG, `styles.py` gives each method its colour everywhere."""
