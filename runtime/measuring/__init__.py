"""What operations and links cost, measured by steps that run."""
