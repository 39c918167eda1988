"""Scans, masks, intensities, windows, cases and the phantom."""
