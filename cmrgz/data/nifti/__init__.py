"""NIfTI files: read strictly, in one pass and bounded memory; written whole."""
