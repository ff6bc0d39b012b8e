"""make_template: a function whose variables are made at its first call and shared by all later ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.ir import get_default_graph
from .variable_scope import VariableScope, variable_scope


class Template:
    """What `make_template` returns: call it as the function that it was made of."""

    def __init__(
        self, name: str, func: Callable[..., Any], unique_name: str | None, create_now: bool, custom_getter: Any
    ) -> None:
        self._name = name
        self._func = func
        self._unique_name = unique_name
        self._custom_getter = custom_getter
        self._variables_made = False
        self._scope: VariableScope | None = self._opened() if create_now else None

    def _opened(self) -> VariableScope:
        """A scope of the template's own, which is left again at once."""
        with variable_scope(
            self._unique_name, self._name, custom_getter=self._custom_getter, auxiliary_name_scope=False
        ) as scope:
            return scope

    @property
    def variable_scope(self) -> VariableScope | None:
        """The scope of its variables; None before the first call of a template that makes it there."""
        return self._scope

    var_scope = variable_scope

    @property
    def variable_scope_name(self) -> str | None:
        """The prefix of its variables' names, with a trailing slash."""
        return None if self._scope is None else f"{self._scope.name}/"

    @property
    def name(self) -> str:
        """The name of the scope, or before there is one, the name given."""
        return self._name if self._scope is None else self._scope.name

    @property
    def func(self) -> Callable[..., Any]:
        return self._func

    @property
    def variables(self) -> list[Any]:
        """The global and local variables in its scope."""
        return [] if self._scope is None else self._scope.global_variables() + self._scope.local_variables()

    @property
    def global_variables(self) -> list[Any]:
        return [] if self._scope is None else self._scope.global_variables()

    @property
    def local_variables(self) -> list[Any]:
        return [] if self._scope is None else self._scope.local_variables()

    @property
    def trainable_variables(self) -> list[Any]:
        return [] if self._scope is None else self._scope.trainable_variables()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._scope is not None:
            with variable_scope(self._scope, reuse=self._variables_made or None):
                return self._call(args, kwargs)
        with variable_scope(self._unique_name, self._name, custom_getter=self._custom_getter) as self._scope:
            return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        graph = get_default_graph()
        before = len(graph.get_collection_ref(GraphKeys.TRAINABLE_VARIABLES))
        result = self._func(*args, **kwargs)
        made = graph.get_collection_ref(GraphKeys.TRAINABLE_VARIABLES)[before:]
        if self._variables_made and made:
            raise ValueError(
                "Trainable variable created when calling a template after the first time, perhaps you used wf.Variable "
                f"when you meant wf.get_variable: {made}"
            )
        self._variables_made = True
        return result


def make_template(
    name_: str, func_: Callable[..., Any], create_scope_now_: bool = False, unique_name_: str | None = None,
    custom_getter_: Any = None, **kwargs: Any,
) -> Template:  # fmt: skip
    """`func_` (with `kwargs` given already) in a variable scope of its own: every call uses the variables of the first.

    The scope is made at the first call, or now, and called `name_`, made unique, or `unique_name_` as it is. Variables must
    come from `get_variable`. Source: `tf.make_template`. Raises ValueError where a later call makes a trainable variable.
    """
    func = functools.partial(func_, **kwargs) if kwargs else func_
    return Template(name_, func, unique_name_, create_scope_now_, custom_getter_)
