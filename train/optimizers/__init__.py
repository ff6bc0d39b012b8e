"""Optimizers: what they have in common, and each rule in a file; the schedules of their learning rates."""
