"""All rows by definition and by TF's node type, and the operations that only weft has, with the reason why."""

from __future__ import annotations

from ..opdef import OPS, OpDef
from ..ops import shards
from . import arrays, elementwise, networks, resources, states
from .rows import Row

_ALL = [*elementwise.ROWS, *arrays.ROWS, *networks.ROWS, *states.ROWS, *resources.ROWS]

#: How an operation is written.
BY_DEFINITION: dict[type[OpDef], Row] = {row.definition: row for row in _ALL if not row.type}
#: How a node is read.
BY_TYPE: dict[str, Row] = {row.type or row.definition.type: row for row in _ALL}

#: What stands before the type of an operation that TF does not have: tools show it, weft reads it, TF refuses it.
PREFIX = "Weft>"

_GRADIENT = "a gradient's helper, for which TF's gradient builds several nodes"
#: Operations without a counterpart in TF. They keep their own type and attributes.
OWN: dict[str, str] = {
    "SumTo": f"{_GRADIENT} (BroadcastGradientArgs, Sum, Reshape)",
    "KeptShape": f"{_GRADIENT} out of the reduced shape",
    "Masked": "a product that keeps no inf or nan of what the mask hides; TF has no such operation",
    "TileGrad": f"{_GRADIENT}: TF's TileGrad has other inputs and was removed from TF",
    "GatherGrad": f"{_GRADIENT} (UnsortedSegmentSum between two transposes)",
    "SegmentGather": f"{_GRADIENT}, which differs from Gather for ids without a row",
    "SparsePositions": f"{_GRADIENT} (SparseAddGrad)",
    "NeighborSum": "half of LRN, which TF has in one node",
    "SequenceMask": "composed of several nodes in TF",
    "SigmoidCrossEntropyWithLogits": "composed of several nodes in TF",
    "Shift": f"{_GRADIENT} of exclusive scans",
    "Recurrence": f"{_GRADIENT} of Cumprod",
    "InitializedValue": "a cond in TF",
    "Orthonormal": "composed of several nodes in TF (Qr, MatrixDiagPart, Sign)",
    **dict.fromkeys(
        ("If", "While"), "TF's nodes where TF has all that is inside (`functional`); not where a tape is used"
    ),
    **dict.fromkeys(
        ("EmptyTape", "TapeLength", "TapeRead", "TapeSum", "TapeWrite"), f"{_GRADIENT} of branches and loops"
    ),
    **dict.fromkeys(
        ("ProductSumAdd", "ProductSumStart", "ProductSumTotal"),
        f"{_GRADIENT} of loops, which adds products up one by one",
    ),
    **dict.fromkeys(
        (
            "TensorArrayConcatV3",
            "TensorArrayGatherV3",
            "TensorArrayGradV3",
            "TensorArrayReadV3",
            "TensorArrayScatterV3",
            "TensorArraySplitV3",
            "TensorArrayV3",
            "TensorArrayWriteV3",
        ),
        "one value carries the elements, where TF has a handle and a flow",
    ),
    **dict.fromkeys(
        (
            each.type
            for each in (shards.HeldValue, shards.HoldVariables, shards.ReadHeld, shards.SeesFile, shards.WriteHeld)
        ),
        "a part of saving and restoring in two runs, where TF has SaveV2 and RestoreV2",
    ),
    "FlatRows": f"{_GRADIENT} of gathers from variables",
    **dict.fromkeys(
        ("SparseConditionalAccumulator", "SparseAccumulatorApplyGradient", "SparseAccumulatorTakeGradient"),
        "TF's handle is a string that is changed in place",
    ),
    **dict.fromkeys(
        (
            "AccumulatorBeginEpoch",
            "SyncApplyGradient",
            "SyncApplyRows",
            "SyncEpoch",
            "SyncTakeGradient",
            "SyncTakeRows",
            "SyncTokens",
            "SyncTokensBegin",
            "SyncTokensClose",
            "SyncTokensLeave",
            "SyncTokensPut",
            "SyncTokensTake",
            "WorkerNumbers",
        ),
        "TF's tokens and gradients know no epochs",
    ),
    "AccumulatorStopTaking": "TF's chief waits on, until its session is closed",
    "QueueFromList": "in TF, Pack and GatherV2 of handles",
    "ResourceSparseApplyAdam": "TF's Adam updates rows by several nodes",
}


def definition_named(name: str) -> type[OpDef] | None:
    """The definition that a node type with weft's prefix stands for, if there is one."""
    return OPS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
