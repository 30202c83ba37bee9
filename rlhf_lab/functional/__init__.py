"""Equations as functions of tensors and arrays: KL, penalties, policy gradients, losses, and how rewards combine."""
