"""Operations that run as one: elementwise ones block by block, what surrounds a convolution, what XLA compiles."""
