"""variable_scope and get_variable: variables made and shared by name."""

from __future__ import annotations

import enum
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from ..graph import context
from ..graph.collections import GraphKeys
from ..graph.dtypes import DType, as_dtype, float32
from ..graph.ir import Graph, get_default_graph
from ..graph.ops.literal import to_array
from .variable_store import get_or_make


class _ReuseMode(enum.Enum):
    AUTO_REUSE = 1


#: For `reuse`: share a variable where it is there, make it where it is not. Source: `tf.AUTO_REUSE`.
AUTO_REUSE = _ReuseMode.AUTO_REUSE


#: The collection that holds one `_Place`: what a scope keeps, an initializer say, may know the graph.
_PLACE = ("__variable_scope",)


class _Place(threading.local):
    """Where each thread is in one graph: its variable scope, and how often each scope was opened."""

    def __init__(self) -> None:
        self.scope = VariableScope(False)
        self.opened: dict[str, int] = {}


class VariableScope:
    """A prefix for the names that `get_variable` makes, and the defaults of its arguments.

    Source: `tf.VariableScope`.
    """

    def __init__(
        self, reuse: Any, name: str = "", initializer: Any = None, regularizer: Any = None, caching_device: Any = None,
        partitioner: Any = None, custom_getter: Any = None, name_scope: str = "", dtype: Any = float32,
        use_resource: bool | None = None, constraint: Any = None,
    ) -> None:  # fmt: skip
        self.set_partitioner(partitioner)
        self.name = name
        self.reuse = reuse
        self.initializer = initializer
        self.regularizer = regularizer
        self.caching_device = caching_device
        self.custom_getter = custom_getter
        #: The name scope that was opened with it, with a trailing slash.
        self.original_name_scope = name_scope
        self.dtype: DType = as_dtype(dtype)
        self.use_resource = use_resource
        self.constraint = constraint

    def reuse_variables(self) -> None:
        """From here on the scope shares variables instead of making them."""
        self.reuse = True

    def set_initializer(self, initializer: Any) -> None:
        self.initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        self.regularizer = regularizer

    def set_dtype(self, dtype: Any) -> None:
        self.dtype = as_dtype(dtype)

    def set_caching_device(self, caching_device: Any) -> None:
        self.caching_device = caching_device

    def set_use_resource(self, use_resource: bool) -> None:
        self.use_resource = use_resource

    def set_partitioner(self, partitioner: Any) -> None:
        """Takes None. Raises NotImplementedError for a partitioner."""
        if partitioner is not None:
            raise NotImplementedError("partitioned variables: give each part a variable of its own")
        self.partitioner = None

    def set_custom_getter(self, custom_getter: Any) -> None:
        self.custom_getter = custom_getter

    def get_collection(self, name: str) -> list[Any]:
        """The items of a collection whose names are in this scope."""
        return get_default_graph().get_collection(name, self.name + "/" if self.name else "")

    def global_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def trainable_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def get_variable(
        self, name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None,
        reuse: Any = None, trainable: bool | None = None, collections: Any = None, caching_device: Any = None,
        partitioner: Any = None, validate_shape: bool = True, use_resource: bool | None = None,
        custom_getter: Any = None, constraint: Any = None, synchronization: Any = None, aggregation: Any = None,
    ) -> Any:  # fmt: skip
        """The variable of that name in this scope, by the scope's custom getter if it has one; see `wf.get_variable`.

        The store of variables, which TensorFlow has as the first argument, is the default graph's.
        """
        if partitioner is not None:
            raise NotImplementedError("partitioned variables: give each part a variable of its own")
        initializer = _first(initializer, self.initializer)
        _check_value(initializer, dtype)
        arguments = {
            "name": f"{self.name}/{name}" if self.name else name,
            "shape": shape,
            "dtype": _first(dtype, self.dtype),
            "initializer": initializer,
            "regularizer": _first(regularizer, self.regularizer),
            "reuse": AUTO_REUSE if context.executing_eagerly() else _first(reuse, self.reuse),
            "trainable": trainable,
            "collections": collections,
            "caching_device": _first(caching_device, self.caching_device),
            "partitioner": None,
            "validate_shape": validate_shape,
            "use_resource": use_resource,
            "constraint": _first(constraint, self.constraint),
            "synchronization": synchronization,
            "aggregation": aggregation,
        }
        custom = self.custom_getter if custom_getter is None else custom_getter
        if custom is not None and not callable(custom):
            raise ValueError(f"Passed a custom_getter which is not callable: {custom}")
        return get_or_make(**arguments) if custom is None else custom(get_or_make, **arguments)


def _check_value(initializer: Any, dtype: Any) -> None:
    """Raises ValueError for a value to start with that has another type than the one asked for."""
    if dtype is None or initializer is None or callable(initializer):
        return
    found = initializer.dtype if hasattr(initializer, "dtype") else to_array(initializer).dtype
    if as_dtype(found) is not as_dtype(dtype):
        raise ValueError(
            f"Initializer type '{as_dtype(found).name}' and explicit dtype '{as_dtype(dtype).name}' don't match."
        )


def get_variable(
    name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None,
    trainable: bool | None = None, collections: Any = None, caching_device: Any = None, partitioner: Any = None,
    validate_shape: bool = True, use_resource: bool | None = None, custom_getter: Any = None, constraint: Any = None,
    synchronization: Any = None, aggregation: Any = None,
) -> Any:  # fmt: skip
    """The variable of that name in the current variable scope: made, or shared where the scope says `reuse`.

    `initializer`: an initializer, a function (of shape and dtype, or of nothing), or a value; by default the scope's,
    else Glorot's uniform (zeros for integers, bool and strings). `regularizer`: its loss is collected. Source: `tf.get_variable`.
    Raises ValueError for a variable that is there and not to be shared or the other way round, and for another shape or
    type than the shared one's; NotImplementedError for a partitioner.
    """
    return get_variable_scope().get_variable(
        name, shape, dtype, initializer, regularizer, None, trainable, collections, caching_device, partitioner,
        validate_shape, use_resource, custom_getter, constraint, synchronization, aggregation,
    )  # fmt: skip


def get_local_variable(
    name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None,
    trainable: bool | None = False, collections: Any = None, caching_device: Any = None, partitioner: Any = None,
    validate_shape: bool = True, use_resource: bool | None = None, custom_getter: Any = None, constraint: Any = None,
    synchronization: Any = None, aggregation: Any = None,
) -> Any:  # fmt: skip
    """As `get_variable`, for a local variable, which is never trained. Source: `tf.get_local_variable`."""
    return get_variable(
        name, shape, dtype, initializer, regularizer, False, [*(collections or []), GraphKeys.LOCAL_VARIABLES],
        caching_device, partitioner, validate_shape, use_resource, custom_getter, constraint, synchronization, aggregation,
    )  # fmt: skip


def _place() -> _Place:
    kept = get_default_graph().get_collection_ref(_PLACE)
    if not kept:
        kept.append(_Place())
    place: _Place = kept[0]
    return place


def get_variable_scope() -> VariableScope:
    """The current variable scope. Source: `tf.get_variable_scope`."""
    return _place().scope


def _unique(prefix: str) -> str:
    """The prefix, with `_1`, `_2`, … when a scope of that name was opened in the current one."""
    place = _place()
    name = f"{place.scope.name}/{prefix}" if place.scope.name else prefix
    if not place.opened.get(name):
        return prefix
    index = 1
    while place.opened.get(f"{name}_{index}"):
        index += 1
    return f"{prefix}_{index}"


@contextmanager
def variable_scope(
    name_or_scope: Any, default_name: str | None = None, values: Any = None, initializer: Any = None, regularizer: Any = None,
    caching_device: Any = None, partitioner: Any = None, custom_getter: Any = None, reuse: Any = None, dtype: Any = None,
    use_resource: bool | None = None, constraint: Any = None, auxiliary_name_scope: bool = True,
) -> Iterator[VariableScope]:  # fmt: skip
    """A block in which `get_variable` prefixes names by a scope, and takes the scope's defaults; also a name scope.

    `name_or_scope`: a name inside the current scope, or a VariableScope to enter again; None takes `default_name`, made
    unique. `reuse`: True (share), AUTO_REUSE (share or make), None or False (as the scope around). Yields the
    VariableScope. Source: `tf.variable_scope`. Raises TypeError without a name and for another kind of scope, ValueError for
    `reuse` without a name.
    """
    if name_or_scope is None and default_name is None:
        raise TypeError("If default_name is None then name_or_scope is required")
    if name_or_scope is None and reuse:
        raise ValueError("reuse=True cannot be used without a name_or_scope")
    if name_or_scope is not None and not isinstance(name_or_scope, (str, VariableScope)):
        raise TypeError("VariableScope: name_or_scope must be a string or VariableScope.")
    base = name_or_scope if isinstance(name_or_scope, VariableScope) else get_variable_scope()
    name = _scope_name(name_or_scope, default_name)
    graph = get_default_graph()
    inner = default_name if name_or_scope is None else name.split("/")[-1]
    if isinstance(name_or_scope, str):
        inner = name_or_scope
    with graph.name_scope(inner) if auxiliary_name_scope and inner else nullcontext(_current(graph)) as opened:
        scope = VariableScope(
            _reuse(name_or_scope, base, reuse),
            name,
            _first(initializer, base.initializer),
            _first(regularizer, base.regularizer),
            _first(caching_device, base.caching_device),
            partitioner,
            _composed(base.custom_getter, custom_getter),
            base.original_name_scope if isinstance(name_or_scope, VariableScope) else opened,
            _first(dtype, base.dtype),
            _first(use_resource, base.use_resource),
            _first(constraint, base.constraint),
        )
        with _entered(scope, again=isinstance(name_or_scope, VariableScope)):
            yield scope


def _current(graph: Graph) -> str:
    name = graph.get_name_scope()
    return f"{name}/" if name else ""


def _first(given: Any, inherited: Any) -> Any:
    return inherited if given is None else given


def _scope_name(name_or_scope: Any, default_name: str | None) -> str:
    if isinstance(name_or_scope, VariableScope):
        return name_or_scope.name
    part = _unique(cast(str, default_name)) if name_or_scope is None else name_or_scope
    outer = get_variable_scope().name
    return f"{outer}/{part}" if outer and part else outer or part


def _reuse(name_or_scope: Any, base: VariableScope, reuse: Any) -> Any:
    """A scope that is entered again keeps its own mode unless told; a new one shares where the scope around does."""
    if isinstance(name_or_scope, VariableScope) and reuse is not None:
        return reuse
    return reuse or base.reuse


def _composed(outer: Any, inner: Any) -> Any:
    """A custom getter inside another one: the inner gets the outer as its getter."""
    if outer is None or inner is None:
        return _first(inner, outer)

    def both(getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return inner(functools.partial(outer, getter), *args, **kwargs)

    return both


@contextmanager
def _entered(scope: VariableScope, again: bool) -> Iterator[None]:
    """`scope` is the current one for a block; scopes opened inside a newly entered one count from the start again after."""
    place = _place()
    before, opened = place.scope, dict(place.opened)
    place.scope = scope
    place.opened[scope.name] = place.opened.get(scope.name, 0) + 1
    try:
        yield
    finally:
        place.scope = before
        if again:
            place.opened = opened
        else:
            for name in [name for name in place.opened if name.startswith(scope.name + "/")]:
                place.opened[name] = 0


def variable_op_scope(
    values: Any, name_or_scope: Any, default_name: str | None = None, initializer: Any = None, regularizer: Any = None,
    caching_device: Any = None, partitioner: Any = None, custom_getter: Any = None, reuse: Any = None, dtype: Any = None,
    use_resource: bool | None = None, constraint: Any = None,
) -> AbstractContextManager[VariableScope]:  # fmt: skip
    """`variable_scope` with an older order of arguments. Source: `tf.variable_op_scope`."""
    return variable_scope(
        name_or_scope, default_name, values, initializer, regularizer, caching_device, partitioner, custom_getter, reuse,
        dtype, use_resource, constraint,
    )  # fmt: skip


def no_regularizer(_: Any) -> None:
    """The regularizer that makes no loss: for a variable in a scope that has another one. Source: `tf.no_regularizer`."""
