"""What the IR knows of an operation's meaning: its attributes, shape inference, NumPy value and gradient, in one class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, cast, dataclass_transform

from .dtypes import DType
from .record import Record, record
from .shapes import Dims

#: What is known of an integer tensor's value before any run, for shape inference: an int or None for a scalar, a tuple
#: of those for a vector, None for nothing.
Known = int | tuple[int | None, ...] | None


class Spec(NamedTuple):
    """What is known of a tensor before it is computed."""

    dtype: DType
    dims: Dims
    known: Known = None
    #: Of a variant (`tape.Tape`): the paths of the entries that it may hold.
    entries: tuple[str, ...] = ()


class TensorLike(Protocol):
    """What `infer` may ask of an input: a Tensor of the graph, or a Spec with a plan's concrete shapes."""

    @property
    def dtype(self) -> DType: ...
    @property
    def dims(self) -> Dims: ...
    @property
    def known(self) -> Known: ...
    @property
    def entries(self) -> tuple[str, ...]: ...


class OpDef(Record):
    """The definition of a kind of operation. A subclass is a record whose fields are its attributes.

    `infer` gives the outputs' Specs from the inputs' (one Spec, or a tuple of them; `()` for no output) and raises
    ValueError for shapes and TypeError for dtypes that do not fit. `compute` is the meaning, in NumPy: it takes the
    inputs' arrays (row-major unless it is a `view` or a ufunc of exact arithmetic), never changes them, and returns an
    array, row-major unless it is a view (a tuple for several outputs, None for no output); when
    `stateful`, its first argument is the `state.OpState` of the session. `grad` builds graph: it takes the operation
    and one gradient an output (None where no gradient arrived and the type is not trainable) and returns one an input.
    """

    __slots__ = ()

    #: TensorFlow's name of the kind, by default the class's.
    type: ClassVar[str]
    #: Reads or changes something outside of its inputs: never folded, shared with an equal one, or reordered past a write.
    stateful: ClassVar[bool] = False
    #: `compute` may return memory of an input (a reshape, a slice), so the input must live as long as the output.
    view: ClassVar[bool] = False
    #: For an elementwise kernel that is one NumPy ufunc: backends call it with `out=`.
    ufunc: ClassVar[Callable[..., Any] | None] = None
    #: What the operation does to the variables whose handles are among its inputs: "read", "write" or "" (nothing).
    access: ClassVar[str] = ""
    #: `grad` gets None for an output that no gradient reached, where others get zeros.
    takes_missing: ClassVar[bool] = False
    #: Registered as not differentiable: gradients stop here with None (TF: NotDifferentiable), instead of an error.
    not_differentiable: ClassVar[bool] = False
    #: `grad` hands sparse gradients (IndexedSlices) on as they are; any other gets them as dense tensors.
    passes_slices: ClassVar[bool] = False
    #: Whether its gradient is built where it is, whatever devices are asked for: tapes stay where they were begun.
    stays_with_tape: ClassVar[bool] = False

    def infer(self, *inputs: Any, **none: Any) -> Spec | tuple[Spec, ...]:
        raise NotImplementedError(f"{self.type} has no shape inference")

    def compute(self, *inputs: Any, **none: Any) -> Any:
        raise NotImplementedError(f"{self.type} has no NumPy kernel")

    def access_of(self, index: int) -> str:
        """What it does to the variable whose handle is the input at this place; see `access`."""
        return self.access

    def grad(self, operation: Any, *grads: Any, **none: Any) -> Any:
        raise LookupError(f"No gradient defined for operation '{operation.name}' (op type: {self.type})")


#: Every kind of operation by its type name: what a graph that travels as data is read back with.
OPS: dict[str, type[OpDef]] = {}

_Class = TypeVar("_Class", bound=type[OpDef])


@dataclass_transform(frozen_default=True)
def op(cls: _Class) -> _Class:
    """Class decorator of a definition: makes it a record and enters it in OPS under its type name."""
    made: Any = cls
    if "__annotations__" in cls.__dict__ or cls.__match_args__:
        made = record(cls)
    else:
        made.__dataclass_fields__ = {}
    if "type" not in cls.__dict__:
        made.type = cls.__name__
    if made.type in OPS:
        raise KeyError(
            f"operation type '{made.type}' is defined twice: {OPS[made.type].__module__} and {cls.__module__}"
        )
    OPS[made.type] = made
    if not made.__match_args__:
        _share(made)
    return cast(_Class, made)


def _share(kind: type[OpDef]) -> None:
    """Let all calls of a definition without attributes return one instance: they are equal, and a graph holds many."""
    only = kind()
    setattr(kind, "__new__", lambda cls: only if cls is kind else object.__new__(cls))  # noqa: B010
    if "__init__" in kind.__dict__:
        delattr(kind, "__init__")
