"""Definitions of operations are values: they compare, hash and print by their attributes, and do not change."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from weft.graph.opdef import OPS, OpDef
from weft.graph.ops.linalg import MatMul
from weft.graph.ops.transcendental import Tanh


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


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_the_attributes_are_all_fields(kind: type[OpDef]) -> None:
    assert tuple(field.name for field in fields(kind)) == kind.__match_args__  # type: ignore[arg-type]
    assert (kind.__eq__, kind.__hash__, kind.__repr__) == (OpDef.__eq__, OpDef.__hash__, OpDef.__repr__)
