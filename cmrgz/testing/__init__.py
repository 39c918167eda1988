"""Public test material: distributions with exact conditionals."""
