"""Reward models compared on pairs: accuracy, calibration, agreement."""
