"""What TensorFlow calls the outputs of its nodes: inside of a function they are referred to by these names."""

from __future__ import annotations

#: The nodes by the names of their outputs, where it is not one called "output". `*`: a list of outputs has the name.
_NODES = {
    "y": "Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil ComplexAbs Cos Cosh Erf Erfc Exp Expm1 Floor Invert "
    "InvertPermutation IsFinite IsInf IsNan Log Log1p LogicalNot Neg OnesLike Reciprocal Rint Round Rsqrt Sigmoid Sign "
    "Sin Sinh Sqrt Square Tan Tanh Transpose ZerosLike",
    "z": "AddV2 Atan2 BitwiseAnd BitwiseOr BitwiseXor DivNoNan Equal FloorDiv FloorMod Greater GreaterEqual Less LessEqual "
    "LogicalAnd LogicalOr Maximum Minimum Mul NotEqual Pow RealDiv ReciprocalGrad RsqrtGrad SigmoidGrad SqrtGrad "
    "SquaredDifference Sub TanhGrad",
    "output*": "Case IdentityN If PartitionedCall Split SplitV StatefulPartitionedCall StatelessCase StatelessIf "
    "StatelessWhile Unpack While",
    "outputs*": "DynamicPartition",
    "activations": "Elu LeakyRelu Relu Relu6 Selu Softplus Softsign",
    "backprops": "EluGrad LeakyReluGrad Relu6Grad ReluGrad SeluGrad SoftsignGrad",
    "out": "Complex Cumprod Cumsum",
    "diagonal": "DiagPart MatrixDiagPart",
    "product": "MatMul SparseTensorDenseMatMul",
    "loss backprop": "SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits",
    "values indices": "TopK TopKV2",
    "y idx": "Unique",
    "y idx count": "UniqueWithCounts",
    "y batch_mean batch_variance reserve_space_1 reserve_space_2 reserve_space_3": "FusedBatchNorm FusedBatchNormV2 "
    "FusedBatchNormV3",
    "sum": "AddN",
    "merged": "DynamicStitch",
    "precision": "InTopK",
    "logsoftmax": "LogSoftmax",
    "value": "ReadVariableOp",
    "softmax": "Softmax",
    "sum_indices sum_values sum_shape": "SparseAdd",
    "output_indices output_values": "SparseReorder",
    "dense": "SparseToDense",
    "resource": "VarHandleOp",
    "is_initialized": "VarIsInitializedOp",
    "index": "Where",
    "output_false output_true": "Switch",
    "output value_index": "Merge",
    "sampled_candidates true_expected_count sampled_expected_count": "LogUniformCandidateSampler UniformCandidateSampler",
    "handle flow": "TensorArrayV3",
    "summary": "AudioSummaryV2 HistogramSummary ImageSummary MergeSummary ScalarSummary TensorSummaryV2",
    "handle": "FIFOQueueV2 PaddingFIFOQueueV2 PriorityQueueV2 RandomShuffleQueueV2 ResourceConditionalAccumulator",
    "components*": "QueueDequeueManyV2 QueueDequeueUpToV2 QueueDequeueV2",
    "is_closed": "QueueIsClosedV2",
    "size": "QueueSizeV2",
    "average": "ResourceAccumulatorTakeGradient",
    "num_accumulated": "ResourceAccumulatorNumAccumulated",
}
_NAMES = {kind: tuple(names.split()) for names, kinds in _NODES.items() for kind in kinds.split()}


def output_names(kind: str) -> tuple[str, ...]:
    """The names of the outputs of a kind of node; one that ends in `*` stands for a list of outputs."""
    return _NAMES.get(kind, ("output",))


def output_index(kind: str, name: str, index: int) -> int:
    """Which of a node's outputs is number `index` of those called `name`; of a name that is not known, the number says it."""
    names = output_names(kind)
    return names.index(name) if name in names else index


def output_reference(node: str, kind: str, index: int) -> str:
    """An output of a node as an input of another in the same function."""
    names = output_names(kind)
    if names[0].endswith("*"):
        return f"{node}:{names[0][:-1]}:{index}"
    return f"{node}:{names[index]}:0"
