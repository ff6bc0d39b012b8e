"""weft: TensorFlow-1-style symbolic graphs on one process or a Ray cluster, with the same bits. `import weft as wf`."""
