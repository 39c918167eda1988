"""cmrgz: generative models of cardiac MRI, from reconstruction to generation."""

__version__ = "0.1.0"
