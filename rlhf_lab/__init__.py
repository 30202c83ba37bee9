"""The instrument for reward-model overoptimization: RLHF in stages, gold against proxy on one KL axis."""
