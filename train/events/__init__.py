"""Event files: what a training tells TensorBoard."""
