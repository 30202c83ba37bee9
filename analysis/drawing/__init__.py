"""How figures look, and the files they are written to."""
