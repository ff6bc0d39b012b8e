"""Rows for graph/ops/summaries.py; expected are the bytes that TensorFlow 2.21 gives."""

from typing import Any

import numpy as np
from case import Case
from weft.graph.dtypes import string
from weft.graph.ops.constant import constant
from weft.graph.ops.summaries import (
    AudioSummaryV2,
    HistogramSummary,
    ImageSummary,
    MergeSummary,
    ScalarSummary,
    TensorSummaryV2,
)
from weft.train import summary

PICTURES = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3) - 12


def same(data: bytes) -> Any:
    """An `expected` of these bytes, whatever the inputs."""

    def expected(*_: Any) -> Any:
        array = np.empty((), object)
        array[()] = data
        return array

    return expected


HISTOGRAM = (
    b"\n\xb7\x01\n\x01h*\xb1\x01\t\x00\x00\x00\x00\x00\x00\x00\xc0\x11$\xb0\x08\x88\xef\x8dOF\x19\x00\x00\x00\x00\x00\x00\x18@!$\xb0"
    b"\x08\x88\xef\x8dOF)\x1a\x9cp\xa5u\x1d\xafL2@\xe0\x11\xf1\x0ctM\x01\xc0\xdc\x94\xcd.\x8du\xff\xbf\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x11\xea-\x81\x99\x97q=\x08\x99i\x19\x15Z\xed?+\x14\xfa\xcd\xbe$\xf0?LT\x9f\x02#\x83\x15D\xff\xff\xff\xff\xff\xff\xef\x7f:@"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00@"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00@\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?"
)
EMPTY = (
    b"\n,\n\x02he*&\t\xff\xff\xff\xff\xff\xff\xef\x7f\x11\xff\xff\xff\xff\xff\xff\xef\xff2\x08\xff\xff\xff\xff\xff\xff\xef\x7f:\x08"
    b"\x00\x00\x00\x00\x00\x00\x00\x00"
)
SOUND = (
    b'\nT\n\x08au/audio2H\r\x00\x00\xfaE\x10\x01\x18\x03"2RIFF*\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00'
    b"\x80>\x00\x00\x02\x00\x10\x00data\x06\x00\x00\x00\x00@\x00\x80\xff\x7f*\taudio/wav"
)
TEXT = b"\n\x1e\n\x02teB\x0e\x08\x07\x12\x04\x12\x02\x08\x02B\x01aB\x01bJ\x08\n\x06\n\x04text"
TENSOR = b'\n\x1a\n\x02tsB\x12\x08\x01\x12\x04\x12\x02\x08\x02"\x08\x00\x00\x80?\x00\x00\x00@J\x00'
TWO = b"\n\x19\n\x12fam/sc/fam/lo_ss/x\x15ffF@\n\x0b\n\x04sc/b\x15\x00\x00\x00@"


def merged(x: Any, y: Any) -> Any:
    one = ScalarSummary()(constant("fam/sc/fam/lo_ss/x"), x)
    return MergeSummary()(one, ScalarSummary()(constant("sc/b"), y))


def no_pictures(x: Any) -> Any:
    return ImageSummary(2)(constant("p"), x)


VALUES = np.array([1.0, -2.0, 0.0, 3e-13, 5e30, 1.0])
SAMPLES = np.array([[[0.5], [-1.0], [2.0]]], np.float32)
PAIR = np.array([1, 2], np.float32)

CASES = [
    Case(
        "ScalarSummary", lambda x: ScalarSummary()(constant("sc/b"), x), (np.array(2, np.int32),), order=0,
        expected=same(b"\n\x0b\n\x04sc/b\x15\x00\x00\x00@"),
    ),
    Case(
        "ScalarSummary", lambda x: ScalarSummary()(constant(["a", "b"]), x), (PAIR,), "several", order=0,
        expected=same(b"\n\x08\n\x01a\x15\x00\x00\x80?\n\x08\n\x01b\x15\x00\x00\x00@"),
    ),
    Case(
        "HistogramSummary", lambda x: HistogramSummary()(constant("h"), x), (VALUES,), order=0, grad=(),
        expected=same(HISTOGRAM),
    ),
    Case(
        "HistogramSummary", lambda x: HistogramSummary()(constant("he"), x), (np.zeros(0, np.float32),), "empty", order=0,
        expected=same(EMPTY),
    ),
    Case("ImageSummary", lambda x: ImageSummary(2)(constant("p"), x), (PICTURES,), order=0),
    Case("ImageSummary", no_pictures, (np.zeros((0, 2, 2, 1), np.uint8),), "none", order=0, expected=same(b"")),
    Case(
        "AudioSummaryV2", lambda x: AudioSummaryV2(1)(constant("au"), x, constant(8000.0)), (SAMPLES,), order=0,
        expected=same(SOUND),
    ),
    Case(
        "TensorSummaryV2", lambda x: TensorSummaryV2()(constant("ts"), x, constant(b"", string)), (PAIR,), order=0,
        expected=same(TENSOR),
    ),
    Case("TensorSummaryV2", lambda: summary.text("te", ["a", "b"]), (), "text", order=0, expected=same(TEXT)),
    Case(
        "MergeSummary", merged, (np.array(3.1, np.float32), np.array(2, np.int32)), order=0, expected=same(TWO),
    ),
]  # fmt: skip
