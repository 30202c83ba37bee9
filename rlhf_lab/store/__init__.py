"""What has been made and what was recorded: artifacts by key, records of sweeps, and the rows of runs."""
