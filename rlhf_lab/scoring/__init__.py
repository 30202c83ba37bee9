"""What scores or compares answers: reward models, proxies, labelers, and the evaluation of policies."""
