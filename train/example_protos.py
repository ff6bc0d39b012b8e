"""The protobuf classes of Example, the records of features that programs read and write: described here, loaded when needed."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..graph.graphdef.messages import described

_MESSAGES = {
    "BytesList": "value 1 bytes[]",
    "FloatList": "value 1 float[]",
    "Int64List": "value 1 int64[]",
    "Feature": "|bytes_list 1 BytesList, float_list 2 FloatList, int64_list 3 Int64List",
    "Features": "feature 1 Feature{}",
    "Example": "features 1 Features",
    "FeatureList": "feature 1 Feature[]",
    "FeatureLists": "feature_list 1 FeatureList{}",
    "SequenceExample": "context 1 Features, feature_lists 2 FeatureLists",
}

#: The names of the message classes.
EXAMPLE_MESSAGES = tuple(_MESSAGES)


@cache
def example_protos() -> dict[str, Any]:
    """The message classes by name. Raises ImportError, which says what to install, without protobuf."""
    try:
        return described("weft/example.proto", _MESSAGES, {}, "weft.example")
    except ImportError as error:
        raise ImportError(
            'Examples need the package protobuf. Install it with: pip install "weft[graphdef]"'
        ) from error
