"""`wf.layers`: names only, TensorFlow's."""

from .batch_norm import batch_normalization as batch_normalization
from .layer_functions import (
    average_pooling2d as average_pooling2d,
    conv2d as conv2d,
    dense as dense,
    dropout as dropout,
    flatten as flatten,
    max_pooling2d as max_pooling2d,
)
