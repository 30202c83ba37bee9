"""Ways to optimise a policy against a proxy reward. Nothing here, or below, imports `rlhf_lab.gold`."""
