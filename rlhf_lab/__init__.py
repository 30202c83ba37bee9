"""The instrument for reward-model overoptimization: RLHF in stages, each made once, gold against proxy on one KL axis."""
