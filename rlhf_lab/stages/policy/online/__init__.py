"""Trainers on rollouts: what they share (`rollouts`, `run`), and one file a method."""
