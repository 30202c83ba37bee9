"""Curves of gold and proxy under best-of-n and its kin, estimated from one table of answers."""
