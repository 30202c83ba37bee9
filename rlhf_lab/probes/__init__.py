"""Probes of any checkpoint by someone else's questions: the command `rlhf-probe` and what it measures with."""
