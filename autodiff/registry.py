"""Gradient functions by name: what users register, and how the function of an operation is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..graph.ir import Operation
from ..graph.location import Location, user_location
from ..graph.opdef import OPS, OpDef

#: Takes the forward operation and one gradient an output; returns one gradient (or None) an input.
GradientFunction = Callable[..., Any]

_Function = TypeVar("_Function", bound=GradientFunction)


class _Entry(NamedTuple):
    function: GradientFunction | None
    location: Location


_REGISTERED: dict[str, _Entry] = {}


class RegisterGradient:
    """Decorator: the function is the gradient of operations of type `op_type`, or of those mapped to that name by
    `Graph.gradient_override_map`. It takes (operation, *grads) and returns a gradient (or None) an input.

    Source: `tf.RegisterGradient`. Raises TypeError for a name that is no string, KeyError for one that is taken.
    """

    __slots__ = ("_op_type",)

    def __init__(self, op_type: str) -> None:
        self._op_type = _checked_name(op_type)

    def __call__(self, f: _Function) -> _Function:
        _register(self._op_type, f)
        return f


def NotDifferentiable(op_type: str) -> None:
    """Gradients stop at operations of this type, with None. Source: `tf.NotDifferentiable`. Raises TypeError, KeyError."""
    _register(_checked_name(op_type), None)


def NoGradient(op_type: str) -> None:
    """The old name of `NotDifferentiable`. Source: `tf.NoGradient`."""
    NotDifferentiable(op_type)


def _checked_name(op_type: str) -> str:
    if not isinstance(op_type, str):
        raise TypeError(f"op_type must be a string, got {type(op_type).__name__}")
    return op_type


def _register(name: str, function: GradientFunction | None) -> None:
    if name in _REGISTERED:
        before = str(_REGISTERED[name].location)
    elif name in OPS and _known(OPS[name]):
        before = f"{OPS[name].__module__}, its definition"
    else:
        _REGISTERED[name] = _Entry(function, user_location())
        return
    raise KeyError(f"Registering two gradient with name '{name}'! (Previous registration was in {before})")


def _known(definition: type[OpDef]) -> bool:
    """Whether a definition says what its gradient is."""
    return definition.not_differentiable or definition.grad is not OpDef.grad


def gradient_function(operation: Operation) -> GradientFunction | None:
    """The function that differentiates an operation, None where gradients stop.

    A function set on the operation goes first, then what is registered under its override's name or its type, then what
    the definition of that name says. Raises LookupError where nothing says what the gradient is.
    """
    override = operation.gradient_override
    if callable(override):
        return override  # type: ignore[no-any-return]
    entry = _REGISTERED.get(override or operation.type)
    if entry is not None:
        return entry.function
    kind = type(operation.definition) if override is None else OPS.get(override)
    if kind is None or not _known(kind):
        raise LookupError(_no_gradient(operation))
    if kind.not_differentiable:
        return None
    return operation.definition.grad if override is None else _borrowed(kind)


def _borrowed(kind: type[OpDef]) -> GradientFunction:
    """The gradient of another kind, for an operation that the user mapped to it (a straight-through estimator, say)."""
    return lambda operation, *grads: kind.grad(operation.definition, operation, *grads)


def is_users(operation: Operation) -> bool:
    """Whether the operation's gradient function is a user's."""
    return operation.gradient_override is not None or operation.type in _REGISTERED


def _no_gradient(operation: Operation) -> str:
    name = f" under the name '{operation.gradient_override}'" if operation.gradient_override else ""
    return (
        f"No gradient defined for operation '{operation.name}' (op type: {operation.type}){name}, made at "
        f"{operation.location}. Register one with wf.RegisterGradient, or make its result a constant to gradients "
        "with wf.stop_gradient."
    )
