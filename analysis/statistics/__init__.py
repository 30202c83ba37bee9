"""Statistics that know nothing of runs: claims, fits of gold over KL, turnover, factorial effects, the bootstrap."""
