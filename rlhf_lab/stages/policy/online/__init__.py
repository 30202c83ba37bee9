"""Trainers on rollouts: what all methods share (`setup`, `rollouts`, `training`), and the methods."""
