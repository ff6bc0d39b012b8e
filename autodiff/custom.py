"""custom_gradient: functions that say their own gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

from ..graph import context
from ..graph.collections import GraphKeys
from ..graph.function import FunctionGraph
from ..graph.ir import Tensor, graph_of
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.identity import Identity, IdentityN
from ..graph.structure import flatten, pack
from ..graph.variable import Variable


def custom_gradient(f: Any = None) -> Any:
    """Decorator: `f(*args)` returns `(result, grad_fn)`, and `gradients` asks grad_fn instead of differentiating f.

    args and result: tensors, or nested lists, tuples and dicts of them. grad_fn takes the gradient of each tensor of the
    result (None for integers that got none) and returns one gradient (or None) an argument. When f reads trainable
    variables that are no arguments, grad_fn takes them as the keyword `variables` and returns (gradients of the
    arguments, list of gradients of the variables). What grad_fn builds can be differentiated again.

    Source: `tf.custom_gradient`. Raises TypeError for a grad_fn without `variables` where it needs it, ValueError for
    keyword arguments in a graph, and, from `gradients`, for a wrong number of gradients.
    """
    return custom_gradient if f is None else CustomGradient(f)


class CustomGradient:
    """A function (or a method) with its own gradient, as `custom_gradient` makes it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self._function = function

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bind: Any = self._function
        return CustomGradient(bind.__get__(instance, owner))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if context.executing_eagerly():
            return _checked_pair(self._function(*args, **kwargs))[0]
        if kwargs:
            raise ValueError(
                "custom_gradient takes keyword arguments only when eager execution is enabled: in a graph it would not "
                f"know their gradients. Received: {', '.join(kwargs)}."
            )
        return _in_graph(self._function, args)


def _in_graph(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    tensors = [convert_to_tensor(item) for item in flatten(args, composites=False)]
    inputs = [Identity()(tensor) for tensor in tensors]
    start = graph_of(inputs).version
    result, grad_fn = _checked_pair(function(*pack(args, iter(inputs), composites=False)))
    results = [convert_to_tensor(item) for item in flatten(result, composites=False)]
    used = variables_behind(results, inputs, start)
    if used and not _takes_variables(grad_fn):
        raise TypeError(
            "custom_gradient's grad_fn must accept the keyword argument 'variables', since the function uses variables: "
            f"{used}"
        )
    gradient = partial(_ask, grad_fn, used, len(results), len(inputs))
    made = overridden(results, [*inputs, *(convert_to_tensor(v) for v in used)], gradient)
    return pack(result, iter(made), composites=False)


def overridden(results: Sequence[Tensor], inputs: Sequence[Tensor], gradient: Callable[..., Any]) -> list[Tensor]:
    """The results as new tensors, whose gradients go to `inputs` instead of back where the results came from.

    `gradient` takes one gradient a result, and returns one (or None) an input.
    """
    operation = IdentityN().node(*results, *inputs)
    operation.gradient_override = Override(gradient, len(results))
    return list(operation.outputs[: len(results)])


class Override:
    """The gradient function of an IdentityN of results and inputs: nothing goes to the results."""

    def __init__(self, gradient: Callable[..., Any], results: int) -> None:
        self.gradient = gradient
        #: How many of the first inputs never get a gradient.
        self.results = results

    def __call__(self, operation: Any, *dys: Any) -> list[Any]:
        return [None] * self.results + list(self.gradient(*dys[: self.results]))


def _checked_pair(returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, (list, tuple)) or len(returned) != 2 or not callable(returned[1]):
        raise TypeError(f"a function with a custom gradient returns (result, grad_fn), not {returned!r}")
    return returned[0], returned[1]


def _takes_variables(grad_fn: Any) -> bool:
    parameters = inspect.signature(grad_fn).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(
        (p.name == "variables" and p.kind in by_name) or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters
    )


def _ask(grad_fn: Any, used: list[Variable], results: int, inputs: int, *dys: Any) -> list[Any]:
    """The gradients of inputs and variables, from the user's function. Raises ValueError for a wrong number."""
    if not used:
        by_inputs, by_variables = flatten(grad_fn(*dys), composites=False), []
    else:
        returned = grad_fn(*dys, variables=used)
        if not isinstance(returned, (list, tuple)) or len(returned) != 2:
            raise ValueError(
                "A grad_fn with variables must return (gradients of the arguments, list of gradients of the variables), "
                f"not {returned!r}"
            )
        by_inputs, by_variables = flatten(returned[0], composites=False), flatten(returned[1], composites=False)
    if len(by_inputs) != inputs:
        raise ValueError(
            f"Num gradients {len(by_inputs)} generated by the grad_fn of a custom_gradient do not match num inputs {inputs}"
        )
    if len(by_variables) != len(used):
        raise ValueError(
            f"Must return gradient for each variable from custom_gradient's grad_fn: got {len(by_variables)} for {used}"
        )
    return [*by_inputs, *by_variables]


def variables_behind(results: Sequence[Tensor], inputs: Sequence[Tensor], start: int) -> list[Variable]:
    """The trainable variables that `results` depend on other than through `inputs`, by name.

    Operations from number `start` on are the function's own: a variable counts even when it passes an integer there.
    In a branch or a loop what is captured leads on to the graph around it.
    """
    graph = graph_of(inputs)
    stops = set(inputs)
    waiting = [tensor for tensor in results if tensor not in stops]
    seen = set(waiting)
    handles = set()
    while waiting:
        last = waiting.pop()
        operation = last.op
        if operation.definition.type == "VarHandleOp":
            handles.add(last)
        around = operation.graph.source(last) if isinstance(operation.graph, FunctionGraph) else None
        own = around is None and operation.graph is graph and operation.id >= start
        for tensor in operation.inputs if around is None else (around,):
            if tensor not in seen and tensor not in stops and (own or tensor.dtype.is_trainable):
                seen.add(tensor)
                waiting.append(tensor)
    if not handles:
        return []
    trainable = graph_of(handles).get_collection(GraphKeys.TRAINABLE_VARIABLES)
    return sorted({v for v in trainable if isinstance(v, Variable) and v.handle in handles}, key=lambda v: v.name)


def grad_pass_through(f: Callable[..., Any]) -> Any:
    """The function with the gradient of the identity: what arrives at its result goes to its arguments as it is.

    The result must have the form of the arguments. Variables in f get no gradient. Source: `tf.grad_pass_through`.
    """

    def passing(*args: Any, **kwargs: Any) -> Any:
        def grad(*dys: Any, variables: Any = None) -> Any:
            return dys if variables is None else (dys, [None] * len(variables))

        return f(*args, **kwargs), grad

    return CustomGradient(update_wrapper(passing, f))
