"""The placer of a session with `placer="cost"`: what it has decided for good, and why each operation of a step is where it is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ...graph import errors
from ...graph.collections import GraphKeys
from ...graph.devices import DeviceSpec
from ...graph.dtypes import resource
from ...graph.function import functions_of
from ...graph.ir import Graph, Operation, Tensor
from ...graph.opdef import OpDef
from ...graph.ops.constant import Const
from ...graph.ops.identity import NoOp
from ...graph.ops.random import Random
from ...graph.ops.variables import VarHandleOp
from ..engine import Engine
from ..spanning.bodies import Bodies, place_bodies
from ..spanning.openness import is_functional, is_tape_ref, open_nodes
from ..stages.optimize import optimize
from ..stages.order import order
from ..stages.program import Feed, Node, Program, Ref, on_devices, variable_key
from ..stages.prune import prune, unfed_placeholders
from ..stages.specialize import specialize
from ..stages.tapes import record
from ..stages.waits import part_waits
from .cost_model import CostModel, MeasuredStep, pair_of, size_of
from .place import chooser, left_open, place_all, requested, units
from .place_by_cost import place_by_cost
from .placement import Placement
from .simulate import Machine, Work, simulate

#: Why a branch or a loop that spans devices is at home where it is.
SPANS = "it may span devices, by what is asked for inside, and is at home where it is without costs"


class _Step(NamedTuple):
    """A step by which what lasts is placed."""

    fetches: tuple[Tensor, ...]
    targets: tuple[Operation, ...]
    feeds: dict[Tensor, tuple[int | None, ...] | None]


class CostPlacer:
    """Places the steps of one session by measured costs.

    What lasts from step to step (variables, the counters of random operations) is decided once, by the steps in view, and
    stays; all else is decided for each plan. In view are the steps that the model measured and this graph has, the slowest
    first; without any, the training operations of the graph; without these, all that nothing else uses and that writes nothing.
    """

    def __init__(self, graph: Graph, engine: Engine, soft: bool, model: CostModel) -> None:
        self._graph = graph
        self._engine = engine
        self._soft = soft
        self._model = model
        #: The devices, the default one first.
        self._devices = sorted(engine.devices, key=lambda device: device != engine.default_device)
        self._machine = _machine(self._devices, model)
        #: Where what lasts is, by its key, and the step that decided.
        self._kept: dict[str, tuple[int, str]] = {}
        self._viewed = -1
        self._lock = threading.RLock()

    def open(self, program: Program) -> tuple[Program, Bodies]:
        """The program with what the device of each node must match, instead of a device. Raises as `place_all`.

        What may span devices has the one that it is at home on without costs, as what is in it was asked for by the program.
        """
        engine, spanning = self._engine, open_nodes(program)
        devices, bodies = place_all(program, engine.devices, engine.default_device, self._soft, engine.local)
        specs = left_open(program, engine.devices, self._soft, engine.local, spanning)
        return on_devices(program, [devices[at] if at in spanning else spec for at, spec in enumerate(specs)]), bodies

    def place(self, program: Program, positions: Sequence[int], bodies: Bodies) -> tuple[Program, Placement, Bodies]:
        """The ordered program with a device at each node, and why; and what is in branches and loops that span devices."""
        with self._lock:
            lasting = [_lasting(program, position, node) for position, node in enumerate(program.nodes)]
            if self._viewed != self._graph.version and any(key and key not in self._kept for key in lasting):
                self._viewed = self._graph.version
                self._view()
            return self._placed(program, positions, lasting, "the first step that needed it", bodies)

    def _view(self) -> None:
        """Decide what lasts by the steps in view."""
        for name, step in self._steps():
            try:
                program = prune(step.fetches, step.targets, tuple(step.feeds))
                program, bodies = self.open(specialize(program, tuple(step.feeds.values())))
                program = optimize(program)
            except errors.InvalidArgumentError:
                continue  # a step that cannot run decides nothing; who runs it hears why
            program = part_waits(record(program))
            lasting = [_lasting(program, position, node) for position, node in enumerate(program.nodes)]
            self._placed(program, order(program), lasting, name, bodies)

    def _steps(self) -> list[tuple[str, _Step]]:
        measured = sorted(self._model.steps, key=lambda step: (-step.seconds, step.fetches, step.targets))
        found = [(_title(step), known) for step in measured if (known := self._known(step)) is not None]
        if found:
            return found
        training = [each for each in self._graph.get_collection(GraphKeys.TRAIN_OP) if isinstance(each, Operation)]
        if training:
            return [("the graph's training operations", self._fed((), tuple(training), {}))]
        waited = {control for each in self._graph.get_operations() for control in each.control_inputs}
        ends = [
            tensor
            for operation in self._graph.get_operations()
            if operation not in waited and not any(tensor.consumers() for tensor in operation.outputs)
            for tensor in operation.outputs
            if tensor.dtype.name not in ("resource", "variant")
        ]
        return [("all that nothing else uses", self._fed(tuple(ends), (), {}))] if ends else []

    def _known(self, step: MeasuredStep) -> _Step | None:
        """A measured step, if the graph has it."""
        graph = self._graph
        try:
            feeds = {graph.get_tensor_by_name(name): dims for name, dims in step.feeds}
            fetches = tuple(graph.get_tensor_by_name(name) for name in step.fetches)
            targets = tuple(graph.get_operation_by_name(name) for name in step.targets)
        except (KeyError, ValueError):
            return None
        return self._fed(fetches, targets, dict(feeds))

    def _fed(
        self,
        fetches: tuple[Tensor, ...],
        targets: tuple[Operation, ...],
        feeds: dict[Tensor, tuple[int | None, ...] | None],
    ) -> _Step:
        for tensor in unfed_placeholders(fetches, targets, feeds):
            feeds[tensor] = tensor.dims
        return _Step(tuple(tensor for tensor in fetches if tensor not in feeds), targets, feeds)

    def _placed(
        self, program: Program, positions: Sequence[int], lasting: Sequence[str], step: str, bodies: Bodies
    ) -> tuple[Program, Placement, Bodies]:
        spanning = self._spanning(program)
        roots = units(program, spanning)
        allowed, reasons = self._allowed(program, roots, lasting, spanning)
        work, measured = _work(program, positions, self._model)
        choice = place_by_cost(work, roots, allowed, self._machine)
        chosen = [self._devices[home] for home in choice.homes]
        if spanning:
            bodies = self._bodies(program, roots, spanning, chosen, bodies)
            homes = [self._devices.index(device) for device in chosen]
            choice = replace(choice, homes=homes, outcome=simulate(work, homes, self._machine))
        for position, key in enumerate(lasting):
            if key:
                self._kept.setdefault(key, (choice.homes[position], step))
        placed = on_devices(program, chosen)
        names = [str(device) for device in self._devices]
        doubts = self._doubts()
        placement = Placement(placed, names, work, self._machine, choice, tuple(roots), reasons, measured, doubts)
        return placed, placement, bodies

    def _spanning(self, program: Program) -> set[int]:
        """The branches and loops that may span devices: as asked for inside, or for what they use lasts on several."""
        found = open_nodes(program)
        functional = [position for position, node in enumerate(program.nodes) if is_functional(node.definition)]
        for position in functional:
            refs = [ref for ref in program.nodes[position].inputs if program.spec(ref).dtype is resource]
            keys = [f"variable {variable_key(program, ref)}" for ref in refs]
            if len({self._kept[key][0] for key in keys if key in self._kept}) > 1:
                found.add(position)
        if found:  # what goes back over the tape of one of them goes where the tape is
            found.update(at for at in functional if any(is_tape_ref(program, ref) for ref in program.nodes[at].inputs))
        return found

    def _bodies(
        self, program: Program, roots: Sequence[int], spanning: set[int], chosen: list[DeviceSpec], bodies: Bodies
    ) -> Bodies:
        """What is in those that span devices, whose variables are where costs have put them; moves what is in one place."""
        engine = self._engine
        choose = chooser(engine.devices, engine.default_device, self._soft, engine.local)
        fixed = {at for at in spanning if roots.count(roots[at]) > 1 or requested(program.nodes[at])}
        return place_bodies(program, spanning, fixed, chosen, choose, bodies.named)

    def _doubts(self) -> tuple[str, ...]:
        """What of the model was measured while others computed."""
        pairs = itertools.combinations(self._devices, 2)
        links = [(a, b, self._model.links.get(pair_of(a, b))) for a, b in pairs]
        return tuple(
            [f"what {a} and {b} cost each other is {link.doubt}" for a, b, link in links if link and not link.sure]
        )

    def _allowed(
        self, program: Program, roots: Sequence[int], lasting: Sequence[str], spanning: set[int]
    ) -> tuple[dict[int, tuple[int, ...]], dict[int, str]]:
        """For each unit the devices it may be on, the preferred first, and where these are fewer than all the reason."""
        numbers = tuple(range(len(self._devices)))
        allowed, reasons = dict.fromkeys(roots, numbers), dict[int, str]()
        for position, node in enumerate(program.nodes):
            unit, wanted = roots[position], node.device
            if wanted is not None and wanted != DeviceSpec():
                fits = tuple(number for number in allowed[unit] if wanted.matches(self._devices[number]))
                if fits and len(fits) < len(allowed[unit]):
                    allowed[unit] = fits
                    reasons[unit] = SPANS if position in spanning else f"{wanted} was requested"
        for position, node in enumerate(program.nodes):
            unit, key = roots[position], lasting[position]
            kept = self._kept.get(key) if key else None
            if kept is not None and position in spanning and not requested(node):
                allowed[unit] = (kept[0],)
            elif kept is not None and kept[0] not in allowed[unit]:
                raise self._apart(node, key, kept, allowed[unit], reasons.get(unit, ""))
            elif kept is not None and len(allowed[unit]) > 1:
                allowed[unit] = (kept[0],)
                reasons[unit] = f"{key} is there since {kept[1]} was placed, and stays"
            elif len(allowed[unit]) > 1 and not _may_move(node.definition):
                allowed[unit] = allowed[unit][:1]
                reasons[unit] = f"{node.definition.type} acts on what is outside of the step, and is not moved"
        return allowed, reasons

    def _apart(
        self, node: Node, key: str, kept: tuple[int, str], allowed: tuple[int, ...], reason: str
    ) -> errors.InvalidArgumentError:
        """What lasts on different devices, and is to share one now."""
        text = (
            f"{key} is on {self._devices[kept[0]]} since {kept[1]} was placed by cost, but must now share "
            f"{self._devices[allowed[0]]} ({reason}): request a device for what must be together, or measure this step too"
        )
        return errors.InvalidArgumentError(node.origin, node.origin, text)


def _lasting(program: Program, position: int, node: Node) -> str:
    """The key of what a node has that lasts from step to step; "" for nothing."""
    if isinstance(node.definition, VarHandleOp):
        return f"variable {variable_key(program, Ref(position, 0))}"
    if isinstance(node.definition, Random) or (functions_of(node.definition) and _has_random(node.definition)):
        return f"the counter of {node.name}"
    return ""


def _has_random(definition: OpDef) -> bool:
    inside = [node.definition for function in functions_of(definition) for node in function.operations]
    return any(isinstance(each, Random) or _has_random(each) for each in inside)


def _may_move(definition: OpDef) -> bool:
    """Whether an operation does the same on any device. What prints, or has a queue, stays where it always was."""
    if not definition.stateful or isinstance(definition, (NoOp, VarHandleOp, Random)) or definition.access:
        return True
    functions = functions_of(definition)
    return bool(functions) and all(_may_move(node.definition) for each in functions for node in each.operations)


def _title(step: MeasuredStep) -> str:
    names = step.fetches + step.targets
    return f"the measured step of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _machine(devices: Sequence[DeviceSpec], model: CostModel) -> Machine:
    links = [[model.link(a, b) for b in devices] for a in devices]
    clients = [model.client(device) for device in devices]
    count = len(devices)

    def table(name: str, diagonal: float) -> list[list[float]]:
        return [[diagonal if a == b else getattr(links[a][b], name) for b in range(count)] for a in range(count)]

    return Machine(
        count, table("latency", 0.0), table("byte_seconds", 0.0), table("joint", 0.0), table("light", 1.0),
        table("heavy", 1.0), [each.latency for each in clients], [each.feed_byte_seconds for each in clients],
        [each.fetch_byte_seconds for each in clients],
    )  # fmt: skip


def _work(program: Program, positions: Sequence[int], model: CostModel) -> tuple[Work, list[bool]]:
    """A program as far as its time matters, and which of its operations were measured."""
    nodes = program.nodes
    count = len(nodes)
    everywhere = [isinstance(node.definition, (Const, Feed)) and not node.controls for node in nodes]
    seconds, measured = [0.0] * count, [False] * count
    needs: list[list[tuple[int, int]]] = [[] for _ in nodes]
    users: list[list[tuple[int, int]]] = [[] for _ in nodes]
    fed, fetched, taken = [0] * count, [0] * count, set[int]()
    nbytes: dict[tuple[int, int], int] = {}
    for position in positions:
        node = nodes[position]
        for output, spec in enumerate(node.specs):
            nbytes[position, output] = size_of(spec)
        if everywhere[position]:
            continue
        specs = [program.spec(ref) for ref in node.inputs]
        found, measured[position] = model.seconds(node.name, node.definition, specs, node.specs)
        seconds[position] = found + model.between
        wanted = [(ref.node, ref.output) for ref in node.inputs] + [(control, -1) for control in node.controls]
        for source, output in dict.fromkeys(wanted):
            if not everywhere[source]:
                needs[position].append((source, output))
                users[source].append((position, output))
            elif source not in taken and isinstance(nodes[source].definition, Feed):
                taken.add(source)
                fed[position] += size_of(nodes[source].specs[0])
    for ref in dict.fromkeys(program.fetches):
        fetched[ref.node] += size_of(program.spec(ref))
    order = [position for position in positions if not everywhere[position]]
    return Work(seconds, order, needs, users, nbytes, fed, fetched), measured
