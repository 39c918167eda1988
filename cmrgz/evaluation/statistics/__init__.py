"""Statistics over subjects: a patient is one observation, whatever was drawn of it."""
