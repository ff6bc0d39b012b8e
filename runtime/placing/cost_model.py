"""CostModel: what operations, links and steps were measured to cost, as a value that is saved as JSON and printed as a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from math import isfinite, prod, sqrt
from os import PathLike, fspath
from typing import Any, NamedTuple, TypeVar

from ...graph import errors, shapes
from ...graph.devices import DeviceSpec
from ...graph.function import Argument, Function, functions_of
from ...graph.opdef import OpDef, Spec
from ...graph.ops.constant import Const
from ...graph.ops.looping import While

VERSION = 2
#: What an unknown dimension counts as, and how often a loop that was not measured runs.
UNKNOWN_DIM, UNKNOWN_TIMES = 64, 10
#: What estimates begin with where nothing was measured: seconds a kernel, a byte, a multiplication or addition.
KERNEL_SECONDS, BYTE_SECONDS, FLOP_SECONDS = 2e-6, 2e-10, 5e-11
#: How much of an operation's text is kept in its key.
LONGEST = 160
#: From this on what two devices cost each other is in doubt: how far measurements lie apart, and processors that others had.
DISTURBED = 0.25


class Cost(NamedTuple):
    """What one kind of operation was measured to take: the median, of how many runs; and how much work it is."""

    seconds: float
    runs: int
    nbytes: int
    flops: int


@dataclass(frozen=True, slots=True)
class Link:
    """Between two devices. `joint`: by how much a step is longer for running on both.

    `light`, `heavy`: how many times as long a short kernel, and a long one, takes on one while the other computes too:
    1 for devices that share nothing, 2 for those that share all. `spread`: the middle half of the ratios behind `heavy` lies
    within so much of it, or if none was calm, all tries. `others`: on how many processors others computed meanwhile.
    """

    latency: float
    byte_seconds: float
    joint: float
    light: float
    heavy: float
    spread: float = 0.0
    others: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether `light` and `heavy` were measured on a calm machine."""
        return self.spread <= DISTURBED and self.others <= DISTURBED

    @property
    def doubt(self) -> str:
        """How sure that is, for people."""
        found = f"within {self.spread:.0%}, others computed on {self.others:.1f} processors meanwhile"
        return f"{'' if self.sure else 'unsure: '}{found}"


@dataclass(frozen=True, slots=True)
class Client:
    """Between the program and a device: an empty step, and a byte that is fed and one that is fetched."""

    latency: float
    feed_byte_seconds: float
    fetch_byte_seconds: float


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """A step that was measured, by the names of what it fetches and runs, and of what is fed, with its shape."""

    fetches: tuple[str, ...]
    targets: tuple[str, ...]
    feeds: tuple[tuple[str, tuple[int, ...]], ...]
    seconds: float


#: Where a link was not measured: devices of one process share the machine, and nothing is known to be gained there.
SAME_TASK = Link(5e-5, 0.0, 1e-4, 2.0, 2.0)
OTHER_TASK = Link(2e-4, 1e-9, 2e-4, 1.0, 1.0)
HERE = Client(2e-5, 0.0, 1e-10)


def key_of(name: str, definition: OpDef, inputs: Sequence[Spec]) -> str:
    """What operations of the same cost have in common: definition, dtypes and shapes. Branches and loops go by their name."""
    text = repr(definition)
    if functions_of(definition) or " at 0x" in text:
        text = whole_key(definition.type, name)
    elif len(text) > LONGEST:
        text = f"{definition.type}#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return " ".join([text, *(f"{spec.dtype.name}{shapes.text(spec.dims)}" for spec in inputs)])


def whole_key(kind: str, name: str) -> str:
    """What a branch or a loop goes by, whatever its inputs are."""
    return f"{kind}<{name}>"


def size_of(spec: Spec) -> int:
    """How many bytes a value has, or may have."""
    if spec.dtype.name in ("resource", "variant"):
        return 0
    return prod(UNKNOWN_DIM if dim is None else dim for dim in (spec.dims or ())) * spec.dtype.size


def _elements(spec: Spec) -> int:
    return prod(UNKNOWN_DIM if dim is None else dim for dim in (spec.dims or ()))


def work_of(definition: OpDef, inputs: Sequence[Spec], outputs: Sequence[Spec]) -> tuple[int, int]:
    """The bytes that an operation reads and writes, and how many multiplications and additions it makes of products."""
    nbytes = sum(map(size_of, inputs)) + sum(map(size_of, outputs))
    if len(inputs) < 2 or not outputs:
        return nbytes, 0
    first, second, made = _elements(inputs[0]), _elements(inputs[1]), max(1, _elements(outputs[0]))
    if definition.type.startswith(("MatMul", "BatchMatMul")):
        rank = len(outputs[0].dims or ())
        batch = prod(dim or 1 for dim in (outputs[0].dims or ())[: rank - 2]) if rank > 2 else 1
        return nbytes, int(2 * made * sqrt(first * second / made / batch))
    if definition.type.startswith("Conv2D"):  # each number of an image meets each of a filter's, but for its channels
        images, rest = sorted(((_elements(spec), spec) for spec in (*inputs, *outputs)), key=lambda each: -each[0])[:2]
        channels = (images[1].dims or (1,))[-1] or 1
        smallest = min(_elements(spec) for spec in (*inputs[:2], *outputs[:1]) if _elements(spec) > 4)
        return nbytes, 2 * min(images[0], rest[0]) * max(1, smallest // channels)
    return nbytes, 0


@dataclass(frozen=True)
class CostModel:
    """Seconds of operations, links between devices and steps, as `wf.measure_costs` found them, to place by.

    It does not change; `print` it for a table. `costs`: by kind of operation (definition, dtypes and shapes of inputs).
    `links`: by the names of two devices. `clients`: between the program and each device. `steps`: what was measured.
    `between`: seconds from one operation to the next. What is not in it is estimated, from what is.
    """

    costs: dict[str, Cost] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    steps: tuple[MeasuredStep, ...] = ()
    between: float = 0.0

    def seconds(
        self, name: str, definition: OpDef, inputs: Sequence[Spec], outputs: Sequence[Spec]
    ) -> tuple[float, bool]:
        """How long an operation takes, and whether that was measured."""
        found = self.costs.get(key_of(name, definition, inputs))
        functions = functions_of(definition)
        if found is None and functions:  # as it was measured in parts, for inputs of any shapes
            found = self.costs.get(whole_key(definition.type, name))
        if found is not None:
            return found.seconds, True
        if functions:
            inside = [self._inside(function) for function in functions]
            return (UNKNOWN_TIMES * sum(inside) if isinstance(definition, While) else max(inside)), False
        return self._estimate(definition, work_of(definition, inputs, outputs)), False

    def _inside(self, function: Function) -> float:
        """What the operations of a function take, by the shapes that the graph knows."""
        total = 0.0
        for operation in function.operations:
            if not isinstance(operation.definition, (Argument, Const)):
                inputs, outputs = (
                    [Spec(tensor.dtype, tensor.dims) for tensor in tensors]
                    for tensors in (operation.inputs, operation.outputs)
                )
                total += self.seconds(operation.name, operation.definition, inputs, outputs)[0]
        return total

    def _estimate(self, definition: OpDef, work: tuple[int, int]) -> float:
        least, byte, flop, rates = self._rates
        if definition.view:
            return least
        rate = rates.get(definition.type)
        if rate is not None:  # others of its type were measured
            return least + rate * (work[1] or work[0])
        return least + (flop * work[1] if work[1] else byte * work[0])

    @cached_property
    def _rates(self) -> tuple[float, float, float, dict[str, float]]:
        """Seconds of the smallest kernel, a byte, a flop; and by type seconds for a unit of its work."""
        small = sorted(cost.seconds for cost in self.costs.values() if cost.nbytes <= 4096)
        least = small[len(small) // 2] if small else KERNEL_SECONDS
        sums: dict[str, list[float]] = {}
        for key, cost in self.costs.items():
            beyond = max(0.0, cost.seconds - least)
            kind = key.partition("(")[0].partition("#")[0].partition("<")[0]
            for name, amount in ((kind, cost.flops or cost.nbytes), ("\0flop" if cost.flops else "\0byte", 0)):
                total = sums.setdefault(name, [0.0, 0.0])
                total[0] += beyond
                total[1] += amount or cost.flops or cost.nbytes
        rates = {name: seconds / amount for name, (seconds, amount) in sums.items() if amount and seconds}
        return least, rates.pop("\0byte", BYTE_SECONDS), rates.pop("\0flop", FLOP_SECONDS), rates

    def link(self, a: DeviceSpec, b: DeviceSpec) -> Link:
        """Between two devices: as measured, else the mean of what was measured, else a guess."""
        found = self.links.get(_pair(str(a), str(b)))
        if found is not None:
            return found
        alike = [
            link for pair, link in self.links.items() if _same_task(*map(DeviceSpec.from_string, pair.split("|")))
            == _same_task(a, b)
        ]  # fmt: skip
        return _mean(Link, alike) if alike else SAME_TASK if _same_task(a, b) else OTHER_TASK

    def client(self, device: DeviceSpec) -> Client:
        """Between the program and a device."""
        found = self.clients.get(str(device))
        return found or (_mean(Client, list(self.clients.values())) if self.clients else HERE)

    def merged(self, other: CostModel) -> CostModel:
        """Both; where both know something, as the other has it."""
        steps = {(step.fetches, step.targets, step.feeds): step for step in (*self.steps, *other.steps)}
        return CostModel(
            self.costs | other.costs, self.links | other.links, self.clients | other.clients, tuple(steps.values()),
            other.between or self.between,
        )  # fmt: skip

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file, as JSON. Raises OSError."""
        data = {
            "weft_cost_model": VERSION,
            "between": self.between,
            "costs": {key: list(cost) for key, cost in self.costs.items()},
            "links": {key: asdict(link) for key, link in self.links.items()},
            "clients": {key: asdict(client) for key, client in self.clients.items()},
            "steps": [asdict(step) for step in self.steps],
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)

    @staticmethod
    def load(path: str | PathLike[str]) -> CostModel:
        """Read a file that `save` wrote: data, never code.

        Raises NotFoundError where there is none, DataLossError for one that is damaged or of another version.
        """
        try:
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
        except FileNotFoundError:
            raise errors.NotFoundError(None, None, f"There is no cost model at {fspath(path)}") from None
        except (ValueError, RecursionError) as damage:
            raise errors.DataLossError(None, None, f"{fspath(path)} is no cost model: {damage}") from None
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as damage:
            text = f"{fspath(path)} is no cost model, or is damaged: {damage}"
            raise errors.DataLossError(None, None, text) from None

    def __str__(self) -> str:
        lines = [
            f"cost model: {len(self.costs):,} kinds of operations, {len(self.steps)} steps measured",
            f"  {self.between * 1e6:.2f} us between operations",
        ]
        for step in self.steps:
            lines.append(f"  {_ms(step.seconds)} a step of {', '.join(step.fetches + step.targets)}")
        lines += [f"{'seconds':>12} {'runs':>6} {'bytes':>13}  operation"] if self.costs else []
        for key, cost in sorted(self.costs.items(), key=lambda each: (-each[1].seconds, each[0])):
            lines.append(f"{_ms(cost.seconds)} {cost.runs:>6} {cost.nbytes:>13,}  {key}")
        for pair, link in sorted(self.links.items()):
            lines.append(
                f"{pair.replace('|', ' to ')}: {link.latency * 1e6:.0f} us and {link.byte_seconds * 1e9:.3f} ns a byte, "
                f"{link.joint * 1e6:.0f} us more for a step on both; computing at once, short kernels take "
                f"{link.light:.2f}x, long ones {link.heavy:.2f}x ({link.doubt})"
            )
        for device, client in sorted(self.clients.items()):
            lines.append(
                f"{device}: {client.latency * 1e6:.0f} us an empty step, {client.feed_byte_seconds * 1e9:.3f} ns a byte "
                f"fed, {client.fetch_byte_seconds * 1e9:.3f} ns a byte fetched"
            )
        return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:>9.3f} ms"


def pair_of(a: DeviceSpec, b: DeviceSpec) -> str:
    """The key of a link."""
    return _pair(str(a), str(b))


def _pair(a: str, b: str) -> str:
    return "|".join(sorted((a, b)))


def _same_task(a: DeviceSpec, b: DeviceSpec) -> bool:
    return a.task_only() == b.task_only()


_Value = TypeVar("_Value", Link, Client)


def _mean(kind: type[_Value], values: Sequence[_Value]) -> _Value:
    return kind(*(sum(getattr(value, each.name) for value in values) / len(values) for each in fields(kind)))


def _read(data: Any) -> CostModel:
    """Raises KeyError, TypeError, ValueError, OverflowError, AttributeError for what does not fit."""
    if data["weft_cost_model"] != VERSION:
        raise ValueError(f"it is of version {data['weft_cost_model']}, and this weft reads version {VERSION}")
    costs = {}
    for key, (seconds, *numbers) in data["costs"].items():
        costs[key] = Cost(_number(seconds), *map(_whole, numbers))
    steps = []
    for step in data["steps"]:
        feeds = tuple((_text(name), tuple(map(_whole, dims))) for name, dims in step["feeds"])
        fetches, targets = (tuple(map(_text, step[part])) for part in ("fetches", "targets"))
        steps.append(MeasuredStep(fetches, targets, feeds, _number(step["seconds"])))
    links = {_text(pair): _record(Link, link) for pair, link in data["links"].items()}
    for pair in links:
        if pair.count("|") != 1:
            raise ValueError(f"{pair!r} does not name two devices")
        for device in pair.split("|"):
            DeviceSpec.from_string(device)
    clients = {_text(device): _record(Client, client) for device, client in data["clients"].items()}
    return CostModel(costs, links, clients, tuple(steps), _number(data["between"]))


def _record(kind: type[_Value], data: Any) -> _Value:
    return kind(*(_number(data[each.name]) for each in fields(kind)))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value
