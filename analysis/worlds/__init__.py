"""Worlds in closed form, in which it is known what selection by the proxy does to gold."""
