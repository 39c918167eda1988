"""Tables, by what they are of."""
