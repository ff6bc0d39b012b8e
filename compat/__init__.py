"""What a TensorFlow 1 program expects around its graph: flags, logging, an entry point, switches of old behaviour."""

from .text import as_bytes as as_bytes, as_str as as_str, as_str_any as as_str_any, as_text as as_text
