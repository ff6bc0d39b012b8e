"""Definitions of operations are values: they compare, hash and print by their attributes, and do not change."""

from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from weft.graph.opdef import OPS, OpDef
from weft.graph.ops.linalg import MatMul
from weft.graph.ops.transcendental import Tanh
from weft.graph.ops.variables import VariableShape
from weft.runtime.stages.plan import Free


def test_equal_attributes_are_equal_definitions() -> None:
    assert MatMul(True, False) == MatMul(True, False) != MatMul(False, False)
    assert hash(MatMul(True, False)) == hash(MatMul(True, False))
    assert MatMul(True, False) != (True, False)
    assert repr(MatMul(True, False)) == "MatMul(transpose_a=True, transpose_b=False)"
    assert replace(MatMul(True, False), transpose_b=True) == MatMul(True, True)


def test_a_definition_without_attributes_is_one_instance() -> None:
    assert Tanh() is Tanh()
    assert repr(Tanh()) == "Tanh()"


@pytest.mark.parametrize("definition", [Tanh(), MatMul(True, False)])
def test_definitions_do_not_change(definition: OpDef) -> None:
    with pytest.raises(FrozenInstanceError):
        definition.transpose_a = False
    with pytest.raises(FrozenInstanceError):
        delattr(definition, "transpose_a")


def test_making_one_takes_its_attributes_and_no_others() -> None:
    for _ in range(2):  # the first time its `__init__` is written
        assert MatMul(transpose_b=True) == MatMul(False, True)
        for wrong in ({"transposed": True}, {"transpose_a": True, "extra": 1}):
            with pytest.raises(TypeError, match=r"MatMul.__init__\(\) got an unexpected keyword argument"):
                MatMul(**wrong)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'shape'"):
        VariableShape()  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_the_attributes_are_all_fields(kind: type[OpDef]) -> None:
    assert tuple(field.name for field in fields(kind)) == kind.__match_args__
    assert (kind.__eq__, kind.__hash__, kind.__repr__) == (OpDef.__eq__, OpDef.__hash__, OpDef.__repr__)


def test_records_are_copied_as_they_are() -> None:
    for made in (MatMul(True, False), Tanh(), Free((1, 2))):
        assert copy(made) == deepcopy(made) == made
