"""The graph of an experiment's stages, and the making of what is missing."""
