"""What scores or compares answers: reward models, proxies, labelers, and held-out evaluation."""
