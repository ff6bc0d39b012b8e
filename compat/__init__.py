"""What a TensorFlow 1 program expects around its graph: flags, logging, an entry point, switches of old behaviour."""
