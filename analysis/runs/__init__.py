"""Runs read from records, grouped into arms, and what every study computes of them."""
