"""Nodes of TensorFlow's that are several operations in weft: these are built when such a node is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..dtypes import float32
from ..ir import Tensor
from ..ops import conv, depthwise, diagonal, math, normalization, pooling, reshaping, selecting
from ..ops.arithmetic import RealDiv, add, conj, multiply, subtract
from ..ops.array_tapes import (
    TensorArrayGatherV3,
    TensorArrayReadV3,
    TensorArrayScatterV3,
    TensorArrayV3,
    TensorArrayWriteV3,
)
from ..ops.cast import cast
from ..ops.constant import constant, constant_value, static_int
from ..ops.getitem import getitem
from ..ops.ranges import range_
from ..ops.sizes import shape
from ..ops.tapes import TapeLength
from ..ops.transcendental import rsqrt
from ..ops.windows import channels_first
from ..shapes import TensorShape
from .attributes import kind_of
from .rows import Node

Builder = Callable[[Node], Sequence[Tensor]]

#: By node type; of the operations whose rows take images as NHWC only, the type with `/NCHW`.
COMPOSED: dict[str, Builder] = {}
#: The attributes that each may have, besides types, which the inputs say.
_ATTRIBUTES: dict[str, frozenset[str]] = {}
_TYPES = frozenset({"T", "U", "Tparams", "Tindices", "Taxis", "Tperm", "index_type"})


def _reads(*types: str, attrs: str = "") -> Callable[[Builder], Builder]:
    """Decorator: the function builds nodes of these types, which may have these attributes."""

    def enter(builder: Builder) -> Builder:
        for kind in types:
            COMPOSED[kind] = builder
            _ATTRIBUTES[kind] = frozenset(attrs.split())
        return builder

    return enter


def builder_for(node_type: str, attrs: Any) -> str | None:
    """The key of COMPOSED for a node, if it is composed."""
    keys = [f"{node_type}/NCHW"] if attrs.get("data_format") == b"NCHW" else []
    return next((key for key in [*keys, node_type] if key in COMPOSED), None)


def build(key: str, node: Node) -> Sequence[Tensor]:
    """The outputs of a composed node. Raises ValueError, TypeError for one that weft cannot build."""
    unknown = [name for name in node.attrs if not name.startswith("_") and name not in _ATTRIBUTES[key] | _TYPES]
    if unknown:
        raise ValueError(f"NodeDef mentions attr '{unknown[0]}', which weft does not know for {node.type}")
    return COMPOSED[key](node)


def _attr(node: Node, name: str, default: Any) -> Any:
    """An attribute of the kind of its default. Raises ValueError for another kind."""
    value = node.attrs.get(name, default)
    if type(value) is not type(default):
        raise ValueError(
            f"attr '{name}': AttrValue had value with type '{kind_of(value)}' when '{kind_of(default)}' expected"
        )
    return value.decode() if isinstance(value, bytes) else value


def _inputs(node: Node, count: int) -> tuple[Tensor, ...]:
    if len(node.inputs) != count:
        raise ValueError(f"NodeDef expected inputs do not match {len(node.inputs)} inputs specified")
    return node.inputs


def _only(node: Node, name: str, value: Any, default: Any = None) -> None:
    """Raises ValueError where an attribute has another value than the one that weft has."""
    given = node.attrs.get(name, value if default is None else default)
    if given != value:
        raise ValueError(f"attr '{name}': weft has only {value!r}, not {given!r}")


@_reads("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3",
        attrs="epsilon data_format is_training exponential_avg_factor")  # fmt: skip
def _batch_norm(node: Node) -> Sequence[Tensor]:
    """In inference form. With `is_training` it would need the batch's statistics, whose gradient is another node."""
    _only(node, "is_training", False, default=True)
    x, scale, offset, mean, variance = _inputs(node, 5)
    factor = multiply(scale, rsqrt(add(variance, constant(_attr(node, "epsilon", 1e-4), variance.dtype))))
    parts = [mean, factor, offset]
    if channels_first(_attr(node, "data_format", b"NHWC")):
        parts = [reshaping.reshape(part, [-1, 1, 1]) for part in parts]
    wide = cast(x, scale.dtype)
    y = add(multiply(subtract(wide, parts[0]), parts[1]), parts[2])
    return cast(y, x.dtype), mean, variance, mean, variance


@_reads("LRN", attrs="depth_radius bias alpha beta")
def _lrn(node: Node) -> Sequence[Tensor]:
    (x,) = _inputs(node, 1)
    radius, bias = _attr(node, "depth_radius", 5), _attr(node, "bias", 1.0)
    alpha, beta = _attr(node, "alpha", 1.0), _attr(node, "beta", 0.5)
    return (normalization.local_response_normalization(x, radius, bias, alpha, beta),)


_CONV = "strides padding explicit_paddings dilations data_format use_cudnn_on_gpu"


def _padding(node: Node) -> Any:
    name, numbers = _attr(node, "padding", b""), _attr(node, "explicit_paddings", ())
    return [numbers[at : at + 2] for at in range(0, len(numbers), 2)] if name == "EXPLICIT" else name


@_reads("Conv2D/NCHW", attrs=_CONV)
def _conv2d(node: Node) -> Sequence[Tensor]:
    x, w = _inputs(node, 2)
    strides, dilations = list(_attr(node, "strides", ())), list(_attr(node, "dilations", (1, 1, 1, 1)))
    return (conv.conv2d(x, w, strides, _padding(node), True, "NCHW", dilations),)


@_reads("DepthwiseConv2dNative/NCHW", attrs=_CONV)
def _depthwise(node: Node) -> Sequence[Tensor]:
    x, w = _inputs(node, 2)
    strides, dilations = list(_attr(node, "strides", ())), _attr(node, "dilations", (1, 1, 1, 1))
    return (depthwise.depthwise_conv2d(x, w, strides, _padding(node), list(dilations[2:]), data_format="NCHW"),)


@_reads("MaxPool/NCHW", "AvgPool/NCHW", attrs="ksize strides padding explicit_paddings data_format")
def _pool(node: Node) -> Sequence[Tensor]:
    (x,) = _inputs(node, 1)
    _only(node, "explicit_paddings", ())
    function = pooling.max_pool if node.type == "MaxPool" else pooling.avg_pool
    ksize, strides = (list(_attr(node, name, ())) for name in ("ksize", "strides"))
    return (function(x, ksize, strides, _attr(node, "padding", b""), data_format="NCHW"),)


@_reads("Div")
def _div(node: Node) -> Sequence[Tensor]:
    """Of floats; TF's Div of ints rounds towards 0."""
    return (RealDiv()(*_inputs(node, 2)),)


@_reads("ClipByValue")
def _clip(node: Node) -> Sequence[Tensor]:
    x, low, high = _inputs(node, 3)
    return (math.maximum(math.minimum(x, high), low),)


@_reads("TopK", attrs="k sorted")
def _top_k(node: Node) -> Sequence[Tensor]:
    (x,) = _inputs(node, 1)
    return selecting.top_k(x, _attr(node, "k", 0), _attr(node, "sorted", True))


@_reads("ConjugateTranspose")
def _conjugate_transpose(node: Node) -> Sequence[Tensor]:
    x, perm = _inputs(node, 2)
    return (conj(reshaping.transpose(x, perm)),)


def _main_diagonal(node: Node, k: Tensor) -> None:
    if static_int("k", k) != 0:
        raise ValueError("weft has the main diagonal only (k=0)")


@_reads("MatrixDiagV2", "MatrixDiagV3", attrs="align")
def _matrix_diag(node: Node) -> Sequence[Tensor]:
    x, k, rows, columns, _ = _inputs(node, 5)
    _main_diagonal(node, k)
    if static_int("num_rows", rows) != -1 or static_int("num_cols", columns) != -1:
        raise ValueError("weft has square diagonal matrices only (num_rows and num_cols must be -1)")
    return (diagonal.matrix_diag(x),)


@_reads("MatrixDiagPartV2", "MatrixDiagPartV3", attrs="align")
def _matrix_diag_part(node: Node) -> Sequence[Tensor]:
    x, k, _ = _inputs(node, 3)
    _main_diagonal(node, k)
    return (diagonal.matrix_diag_part(x),)


@_reads("MatrixSetDiagV2", "MatrixSetDiagV3", attrs="align")
def _matrix_set_diag(node: Node) -> Sequence[Tensor]:
    x, diag, k = _inputs(node, 3)
    _main_diagonal(node, k)
    return (diagonal.matrix_set_diag(x, diag),)


# lists of tensors: TensorFlow 1 has a handle and a flow, which orders what is done to it; here the flow is the list


@_reads(
    "TensorArrayV3",
    attrs="dtype element_shape dynamic_size clear_after_read identical_element_shapes tensor_array_name",
)
def _array(node: Node) -> Sequence[Tensor]:
    (size,) = _inputs(node, 1)
    made = TensorArrayV3()(size)
    return made, made


@_reads("TensorArrayReadV3", attrs="dtype")
def _array_read(node: Node) -> Sequence[Tensor]:
    _, index, flow = _inputs(node, 3)
    return (TensorArrayReadV3(_attr(node, "dtype", float32))(flow, index),)


@_reads("TensorArrayWriteV3")
def _array_write(node: Node) -> Sequence[Tensor]:
    """Whether it may grow, the node that makes it says: here it may."""
    _, index, value, flow = _inputs(node, 4)
    return (TensorArrayWriteV3(dynamic=True)(flow, index, value),)


@_reads("TensorArrayGatherV3", attrs="dtype element_shape")
def _array_gather(node: Node) -> Sequence[Tensor]:
    _, indices, flow = _inputs(node, 3)
    shape = _attr(node, "element_shape", TensorShape(None))
    return (TensorArrayGatherV3(_attr(node, "dtype", float32), shape.as_tuple())(flow, indices),)


@_reads("TensorArrayScatterV3")
def _array_scatter(node: Node) -> Sequence[Tensor]:
    _, indices, value, flow = _inputs(node, 4)
    return (TensorArrayScatterV3(once=True, dynamic=True)(value, indices, flow),)


@_reads("TensorArraySizeV3")
def _array_size(node: Node) -> Sequence[Tensor]:
    _, flow = _inputs(node, 2)
    return (TapeLength()(flow),)


def _element_dims(shape: Tensor) -> Any:
    """What a shape, -1 where a size or all of it is not known, says of the elements of a list."""
    array = constant_value(shape)
    if array is None or array.ndim != 1:
        return None
    return tuple(None if size < 0 else int(size) for size in array)


@_reads("TensorListReserve", attrs="element_dtype shape_type")
def _list_reserve(node: Node) -> Sequence[Tensor]:
    _, size = _inputs(node, 2)
    return (TensorArrayV3()(size),)


@_reads("TensorListFromTensor", attrs="element_dtype shape_type")
def _list_from_tensor(node: Node) -> Sequence[Tensor]:
    value, _ = _inputs(node, 2)
    return (TensorArrayScatterV3(once=True)(value, range_(getitem(shape(value), 0))),)


@_reads("TensorListGetItem", attrs="element_dtype Tshape")
def _list_get(node: Node) -> Sequence[Tensor]:
    elements, index, dims = _inputs(node, 3)
    return (TensorArrayReadV3(_attr(node, "element_dtype", float32), _element_dims(dims))(elements, index),)


@_reads("TensorListSetItem", attrs="element_dtype resize_if_index_out_of_bounds")
def _list_set(node: Node) -> Sequence[Tensor]:
    """As here lists are made, each element is set once."""
    elements, index, value = _inputs(node, 3)
    return (TensorArrayWriteV3(_attr(node, "resize_if_index_out_of_bounds", False))(elements, index, value),)


@_reads("TensorListStack", attrs="element_dtype num_elements Tshape")
def _list_stack(node: Node) -> Sequence[Tensor]:
    elements, dims = _inputs(node, 2)
    stacked = TensorArrayGatherV3(_attr(node, "element_dtype", float32), _element_dims(dims))
    return (stacked(elements, range_(TapeLength()(elements))),)


@_reads("TensorListLength")
def _list_length(node: Node) -> Sequence[Tensor]:
    return (TapeLength()(*_inputs(node, 1)),)
