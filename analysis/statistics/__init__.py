"""Statistics that know nothing of runs: intervals, fits, claims, calibration."""
