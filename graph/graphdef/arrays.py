"""Rows of what takes arrays apart and puts them together: shapes, slices, gathers, reductions, products of matrices."""

from __future__ import annotations

from ..dtypes import int32
from ..ops import (
    array,
    broadcasting,
    convert,
    diagonal,
    fills,
    gathering,
    linalg,
    padding,
    partitioning,
    ranges,
    rearranging,
    reduction,
    reordering,
    reshaping,
    scan,
    segment_extremes,
    segments,
    selecting,
    sizes,
    slicing,
    sparse_kernels,
)
from .rows import Attr, Count, IndexType, InputType, Of, OneType, Only, Row, Static

MOST_OUTPUTS = 2**20

_T = {"T": InputType()}
_OUT = {"T": InputType(), "out_type": Of("out_type")}
_UNIQUE = {"T": InputType(), "out_idx": Of("out_idx")}
_MASKS = {f"{what}_mask": Of(f"{what}_mask") for what in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
_PADDED = {"T": InputType(), "Tpaddings": InputType(1)}
_BLOCKS = {"T": InputType(), "block_size": Of("block_size"), "data_format": Only(b"NHWC")}
_SCAN = {"T": InputType(), "Tidx": IndexType(), "exclusive": Of("exclusive"), "reverse": Of("reverse")}
_BEST = {"T": InputType(), "Tidx": IndexType(), "output_type": Of("output_type")}
_MATMUL = {
    "T": InputType(), "transpose_a": Of("transpose_a"), "transpose_b": Of("transpose_b"), "grad_a": Only(False),
    "grad_b": Only(False),
}  # fmt: skip
_BATCHED = {
    "T": InputType(), "adj_x": Of("adj_x"), "adj_y": Of("adj_y"), "grad_x": Only(False), "grad_y": Only(False),
}  # fmt: skip
_GATHER = {"Tparams": InputType(), "Tindices": InputType(1)}
_KEEP = {"Tidx": IndexType(), "keep_dims": Of("keepdims")}
_AXES = (Static(1, "reduction_indices", "axes"),)
_REDUCTIONS = (broadcasting.Sum, reduction.Mean, reduction.Prod, reduction.Max, reduction.Min)


def _mirror(definition: padding.MirrorPad | padding.MirrorPadGrad) -> None:
    if definition.mode not in ("REFLECT", "SYMMETRIC"):
        raise ValueError(f"mode must be REFLECT or SYMMETRIC, got {definition.mode!r}")


def _block(definition: reordering.SpaceToDepth | reordering.DepthToSpace) -> None:
    if definition.block_size < 2:
        raise ValueError(f"block_size must be at least 2, got {definition.block_size}")


def _parts(definition: convert.Unpack | array.Split | array.SplitV) -> None:
    _few(definition.num)


def _few(count: int) -> None:
    """Raises ValueError for a number of outputs that nobody means, before it fills the memory."""
    if not 0 <= count <= MOST_OUTPUTS:
        raise ValueError(f"a node of {count} outputs")


ROWS = [
    # shapes
    Row(sizes.Shape, _OUT),
    Row(sizes.Size, _OUT),
    Row(sizes.Rank, _T),
    Row(reshaping.Reshape, {"T": InputType(), "Tshape": InputType(1)}),
    Row(reshaping.ExpandDims, {"T": InputType(), "Tdim": IndexType()}, (Static(1, "dim", "axis"),)),
    Row(reshaping.Squeeze, {"T": InputType(), "squeeze_dims": Of("axes")}),
    Row(reshaping.Transpose, {"T": InputType(), "Tperm": IndexType()}, (Static(1, "perm", "perm"),)),
    Row(broadcasting.BroadcastTo, {"T": InputType(), "Tidx": InputType(1)}),
    Row(fills.Fill, {"T": InputType(1), "index_type": InputType(0)}),
    # parts
    Row(slicing.Slice, {"T": InputType(), "Index": OneType(1, (2,))}),
    Row(slicing.StridedSlice, {"T": InputType(), "Index": OneType(1, (2, 3)), **_MASKS}),
    Row(slicing.StridedSliceGrad, {"T": InputType(4), "Index": OneType(0, (1, 2, 3)), **_MASKS}),
    Row(convert.Pack, {"N": Count(), "T": InputType(), "axis": Of("axis")}),
    Row(convert.Unpack, {"T": InputType(), "num": Of("num"), "axis": Of("axis")}, check=_parts),
    Row(array.ConcatV2, {"N": Count(), "T": InputType(), "Tidx": IndexType()}, (Static(-1, "axis", "axis"),)),
    Row(array.ConcatV2, {"N": Count(), "T": InputType()}, (Static(0, "concat_dim", "axis"),), type="Concat"),
    Row(array.Split, {"T": InputType(), "num_split": Of("num")}, (Static(0, "split_dim", "axis"),), check=_parts),
    Row(
        array.SplitV,
        {"T": InputType(), "Tlen": InputType(1), "num_split": Of("num")},
        (Static(2, "split_dim", "axis"),),
        check=_parts,
    ),
    Row(array.Tile, {"T": InputType(), "Tmultiples": InputType(1)}),
    Row(padding.Pad, _PADDED),
    Row(padding.PadV2, _PADDED),
    Row(padding.MirrorPad, {**_PADDED, "mode": Of("mode")}, check=_mirror),
    Row(padding.MirrorPadGrad, {**_PADDED, "mode": Of("mode")}, check=_mirror),
    Row(
        partitioning.DynamicPartition,
        {"T": InputType(), "num_partitions": Of("num_partitions")},
        check=lambda definition: _few(definition.num_partitions),
    ),
    Row(partitioning.DynamicStitch, {"N": Count(2, "n"), "T": InputType(-1)}),
    # order
    Row(reordering.ReverseV2, {"T": InputType(), "Tidx": IndexType()}, (Static(1, "axis", "axes"),)),
    Row(
        reordering.ReverseSequence,
        {"T": InputType(), "Tlen": InputType(1), "seq_dim": Of("seq_axis"), "batch_dim": Of("batch_axis")},
    ),
    Row(
        reordering.Roll,
        {"T": InputType(), "Tshift": InputType(1), "Taxis": IndexType()},
        (Static(2, "axis", "axes", rank_of=1),),
    ),
    Row(reordering.SpaceToDepth, _BLOCKS, check=_block),
    Row(reordering.DepthToSpace, _BLOCKS, check=_block),
    Row(reordering.InvertPermutation, _T),
    # rows and elements by index
    Row(
        gathering.GatherV2,
        {**_GATHER, "Taxis": IndexType(), "batch_dims": Only(0)},
        (Static(2, "axis", "axis"),),
    ),
    Row(gathering.GatherV2, {**_GATHER, "validate_indices": Attr()}, type="Gather"),
    Row(gathering.GatherNd, {**_GATHER, "bad_indices_policy": Only(b"")}),
    Row(gathering.ScatterNd, {"T": InputType(1), "Tindices": OneType(0, (2,)), "bad_indices_policy": Only(b"")}),
    Row(gathering.OneHot, {"T": InputType(2), "TI": InputType(0), "axis": Of("axis")}),
    Row(selecting.Where, _T),
    Row(
        selecting.TopKV2,
        {"T": InputType(), "Tk": InputType(1), "index_type": Only(int32), "sorted": Of("sorted")},
    ),
    Row(selecting.InTopK, {"T": InputType(1), "k": Of("k")}),
    Row(selecting.InTopK, {"T": InputType(1)}, (Static(2, "k", "k"),), type="InTopKV2"),
    Row(segments.UnsortedSegmentSum, {"T": InputType(), "Tindices": InputType(1), "Tnumsegments": InputType(2)}),
    *(
        Row(definition, {"T": InputType(), "Tindices": InputType(1), "Tnumsegments": InputType(2)})
        for definition in (
            segment_extremes.UnsortedSegmentMax,
            segment_extremes.UnsortedSegmentMin,
            segment_extremes.UnsortedSegmentProd,
        )
    ),
    Row(rearranging.EnsureShape, {"T": InputType(), "shape": Of("shape")}),
    Row(segments.SegmentSum, {"T": InputType(), "Tindices": InputType(1)}),
    Row(segments.Unique, _UNIQUE),
    Row(segments.UniqueWithCounts, _UNIQUE),
    Row(ranges.Range, {"Tidx": InputType()}),
    Row(ranges.LinSpace, {"T": InputType(), "Tidx": InputType(2)}),
    # sparse tensors
    Row(
        sparse_kernels.SparseToDense,
        {"T": InputType(2), "Tindices": OneType(0, (1,)), "validate_indices": Of("validate_indices")},
    ),
    Row(
        sparse_kernels.SparseTensorDenseMatMul,
        {
            "T": InputType(1),
            "Tindices": InputType(),
            "adjoint_a": Of("adjoint_a"),
            "adjoint_b": Of("adjoint_b"),
        },
    ),
    Row(
        sparse_kernels.SparseReduceSum,
        {"T": InputType(1), "keep_dims": Of("keep_dims")},
        (Static(3, "reduction_axes", "axes"),),
    ),
    Row(sparse_kernels.SparseReorder, {"T": InputType(1)}),
    Row(sparse_kernels.SparseAdd, {"T": InputType(1), "Treal": InputType(6)}),
    # reductions
    *(Row(definition, {"T": InputType(), **_KEEP}, _AXES) for definition in _REDUCTIONS),
    Row(reduction.All, _KEEP, _AXES),
    Row(reduction.Any_, _KEEP, _AXES),
    Row(reduction.ArgMax, _BEST, (Static(1, "dimension", "axis"),)),
    Row(reduction.ArgMin, _BEST, (Static(1, "dimension", "axis"),)),
    Row(scan.Cumsum, _SCAN, (Static(1, "axis", "axis"),)),
    Row(scan.Cumprod, _SCAN, (Static(1, "axis", "axis"),)),
    # matrices
    Row(linalg.MatMul, _MATMUL),
    Row(linalg.BatchMatMulV2, _BATCHED),
    Row(linalg.BatchMatMulV2, _BATCHED, type="BatchMatMul"),
    Row(linalg.MatrixInverse, {"T": InputType(), "adjoint": Of("adjoint")}),
    Row(linalg.MatrixDeterminant, _T),
    Row(diagonal.Diag, _T),
    Row(diagonal.DiagPart, _T),
    Row(diagonal.MatrixDiag, _T),
    Row(diagonal.MatrixDiagPart, _T),
    Row(diagonal.MatrixSetDiag, _T),
]
