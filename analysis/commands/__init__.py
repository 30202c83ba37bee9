"""Command lines that only read records: rlhf-figures and rlhf-runs."""
