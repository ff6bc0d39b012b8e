"""The CPU backend, with the kernels that call others: those of branches, loops and fused operations, and some more."""

from __future__ import annotations

from ...graph.ops.arithmetic import Masked
from ...graph.ops.array import ConcatV2, Split, SplitV
from ...graph.ops.branching import If
from ...graph.ops.convert import Pack
from ...graph.ops.looping import While
from ...graph.ops.losses import SparseSoftmaxCrossEntropyWithLogits
from ...graph.ops.math import Pow, SquaredDifference
from ...graph.ops.product_sums import ProductSumAdd, ProductSumTotal
from ...graph.ops.selecting import Select, SelectV2
from ...graph.ops.special import Sigmoid
from ...graph.ops.tapes import TapeRead
from ...graph.ops.training import ResourceApplyAdam, ResourceApplyGradientDescent, ResourceApplyMomentum
from ...graph.ops.training_adadelta import ResourceApplyAdadelta
from ...graph.ops.training_adaptive import ResourceApplyAdagrad, ResourceApplyRMSProp
from ..stages.fused import Fused
from ..stages.parts import IfPart, OncePart, WhilePart
from .blocks import Writer, fused
from .choices import choice, masked, power, squared_difference
from .convolutions import convolved, is_convolution
from .cross_entropy import cross_entropy
from .cuts import cut
from .functional import branching, looping, reading
from .into_buffers import concat, pack, sigmoid
from .numpy import NumpyBackend, kernel_of
from .product_sums import adding, totalling
from .row_blocks import RowWriter
from .spanning import branch_part, loop_part, once_part
from .updates import update

CPU = NumpyBackend()

kernel_of(ConcatV2)(concat)
kernel_of(Split, SplitV)(cut)
kernel_of(Pack)(pack)
kernel_of(Sigmoid)(sigmoid)
kernel_of(Fused)(
    lambda definition, inputs, _: (
        convolved(CPU, definition, inputs)
        if is_convolution(definition)
        else fused(CPU, definition, inputs, RowWriter if definition.rows else Writer)
    )
)
kernel_of(If)(lambda definition, inputs, _: branching(CPU, definition, inputs))
kernel_of(ProductSumAdd)(lambda definition, inputs, _: adding(CPU, definition, inputs))
kernel_of(ProductSumTotal)(lambda definition, *_: totalling(definition))
kernel_of(TapeRead)(lambda definition, _, outputs: reading(definition, outputs[0]))
kernel_of(While)(lambda definition, inputs, _: looping(CPU, definition, inputs))
kernel_of(IfPart)(lambda definition, *_: branch_part(CPU, definition))
kernel_of(WhilePart)(lambda definition, *_: loop_part(CPU, definition))
kernel_of(OncePart)(lambda definition, *_: once_part(CPU, definition))
kernel_of(Masked)(masked)
kernel_of(Select, SelectV2)(choice)
kernel_of(Pow)(power)
kernel_of(SquaredDifference)(squared_difference)
kernel_of(ResourceApplyGradientDescent, ResourceApplyMomentum, ResourceApplyAdam)(update)
kernel_of(ResourceApplyAdadelta, ResourceApplyAdagrad, ResourceApplyRMSProp)(update)
kernel_of(SparseSoftmaxCrossEntropyWithLogits)(cross_entropy)
