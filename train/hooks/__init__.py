"""Hooks: what takes part in each run of a training."""
