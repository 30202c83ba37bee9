"""Probes of any checkpoint with published questions: the command `rlhf-probe` and its measures."""
