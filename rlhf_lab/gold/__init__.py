"""The true reward. Only the stages `preferences` (labels) and `score` (records) may import this package."""
