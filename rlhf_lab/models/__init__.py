"""Language models and reward models: loading, tokenization, sampling, and their log-probabilities."""
