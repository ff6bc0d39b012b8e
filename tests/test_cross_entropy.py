"""The cross entropy of small matrices in memory that is there: the bits and the errors of its definition."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import dtypes
from weft.graph.dtypes import DType
from weft.graph.opdef import Spec
from weft.graph.ops.losses import SparseSoftmaxCrossEntropyWithLogits
from weft.runtime.backends.cpu import CPU
from weft.runtime.memory.workspace import Workspace


def kernel_of(rows: int, width: int, dtype: DType, label: DType) -> Any:
    given, made = (Spec(dtype, (rows, width)), Spec(label, (rows,))), (Spec(dtype, (rows,)), Spec(dtype, (rows, width)))
    kernel = CPU.kernel(SparseSoftmaxCrossEntropyWithLogits(), given, made)
    assert kernel is not None
    assert kernel.in_frame is not None
    return kernel.in_frame(Workspace())


@pytest.mark.parametrize("label", [dtypes.int32, dtypes.int64], ids=str)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 10), (7, 1), (64, 10), (33, 31), (300, 32)])
def test_the_bits_are_those_of_the_definition_also_over_the_logits(
    rows: int, width: int, dtype: DType, label: DType
) -> None:
    run, random = kernel_of(rows, width, dtype, label), np.random.default_rng(rows)
    for scale in (0.1, 10.0, 1000.0):
        logits = np.array(random.standard_normal((rows, width)) * scale, dtype.np)
        labels = random.integers(0, width, rows).astype(label.np)
        wanted = SparseSoftmaxCrossEntropyWithLogits().compute(logits.copy(), labels)
        for found in (run(logits, labels), run(logits, labels, (np.empty(rows, dtype.np), logits))):
            assert [each.tobytes() for each in found] == [each.tobytes() for each in wanted]


@pytest.mark.parametrize("label", [-1, 3, 1 << 30])
def test_a_label_that_is_no_class_is_named_before_anything_is_written(label: int) -> None:
    run, logits = kernel_of(2, 3, dtypes.float32, dtypes.int32), np.ones((2, 3), np.float32)
    with pytest.raises(wf.errors.InvalidArgumentError, match=f"label value of {label} which is outside"):
        run(logits, np.array([0, label], np.int32), (None, logits))
    assert (logits == 1).all()


def test_labels_of_another_length_are_refused() -> None:
    run = kernel_of(2, 3, dtypes.float32, dtypes.int32)
    with pytest.raises(wf.errors.InvalidArgumentError, match="do not fit"):
        run(np.ones((2, 3), np.float32), np.zeros(3, np.int32))
