"""Worlds in closed form: scores of answers where what selection by the proxy does to gold is known.

`turning` (the nulls of claim 1, and W1), `hedging` (W2), `tails` (W3), `ensembles` (W4), `sycophancy` (W5).
"""
