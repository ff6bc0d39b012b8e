"""place: each node's device, from what was requested, what must share a device, and what devices there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...graph import errors
from ...graph.devices import DeviceSpec
from ...graph.dtypes import resource, variant
from ...graph.ir import Operation
from ...graph.ops.sizes import Rank, Shape, Size
from ..spanning.bodies import Bodies, Choose, place_bodies
from ..spanning.openness import is_tape_ref, open_nodes
from ..stages.program import Node, Program, Ref, variable_key


def place(
    program: Program, devices: Sequence[DeviceSpec], default: DeviceSpec, soft: bool, local: bool
) -> tuple[DeviceSpec, ...]:
    """The device of every node: see `place_all`."""
    return place_all(program, devices, default, soft, local)[0]


def place_all(
    program: Program, devices: Sequence[DeviceSpec], default: DeviceSpec, soft: bool, local: bool
) -> tuple[tuple[DeviceSpec, ...], Bodies]:
    """The device of every node, one of `devices`; `default` where nothing is requested. And of what is in those that span some.

    With `soft`, a device that is not there falls back to another of its task, and in a `local` session, whose tasks
    are all this process, to the devices there are. Raises InvalidArgumentError naming operation, line and devices.
    """
    spanning = open_nodes(program)
    groups = _Groups(program, spanning)
    chosen: list[DeviceSpec] = []
    found: dict[int | str, DeviceSpec] = {}  # by group, and for a node alone by what it requests
    for position, node in enumerate(program.nodes):
        alone, request = groups.alone(position), requested(node)
        if alone and not request and isinstance(node.definition, (Shape, Size, Rank)):
            chosen.append(chosen[node.inputs[0].node])  # a question about a value is asked where the value is
            continue
        key = request if alone else groups.root(position)
        if key not in found:
            found[key] = _choose(program, groups.of(position), devices, default, soft, local)
        chosen.append(found[key])
    bodies = Bodies()
    if spanning:
        fixed = {at for at in spanning if not groups.alone(at) or requested(program.nodes[at])}
        bodies = place_bodies(program, spanning, fixed, chosen, chooser(devices, default, soft, local))
    if len(set(chosen)) > 1:
        _follow_users(program, groups, chosen)
    return tuple(chosen), bodies


def chooser(devices: Sequence[DeviceSpec], default: DeviceSpec, soft: bool, local: bool) -> Choose:
    """Finds the device for what an operation inside of a branch or a loop requests."""

    def choose(operation: Operation, request: str) -> DeviceSpec:
        node = Node(operation.name, operation.definition, (), (), (), operation)
        return _found(DeviceSpec.from_string(request), node, devices, default, soft, local)

    return choose


def left_open(
    program: Program, devices: Sequence[DeviceSpec], soft: bool, local: bool, spanning: set[int]
) -> tuple[DeviceSpec, ...]:
    """What each node's device must match: what it and all that must share its device request. `place` refuses first.

    `spanning`: the branches and loops that may span devices.
    """
    groups = _Groups(program, spanning)
    found: dict[int | str, DeviceSpec] = {}
    specs: list[DeviceSpec] = []
    for position, node in enumerate(program.nodes):
        key = requested(node) if groups.alone(position) else groups.root(position)
        if key not in found:
            wanted, _ = _merged_request(program, groups.of(position), soft)
            tried = attempts(wanted, soft, local)
            found[key] = next((each for each in tried if any(each.matches(device) for device in devices)), wanted)
        specs.append(found[key])
    return tuple(specs)


def units(program: Program, spanning: set[int]) -> list[int]:
    """For each node the first of those that share its device. `spanning`: the branches and loops that may span devices."""
    groups = _Groups(program, spanning)
    return [groups.root(position) for position in range(len(program.nodes))]


def _follow_users(program: Program, groups: _Groups, chosen: list[DeviceSpec]) -> None:
    """A constant or a feed that asks for no device goes to the one where all that use it are, so that it need not travel.

    Not what keeps something between runs (a random operation counts them): other runs might have other users.
    """
    users: dict[int, set[DeviceSpec]] = {}
    for position, node in enumerate(program.nodes):
        for ref in node.inputs:
            users.setdefault(ref.node, set()).add(chosen[position])
    for position, devices in users.items():
        node = program.nodes[position]
        movable = not node.inputs and len(node.specs) == 1 and not node.definition.stateful and not requested(node)
        if movable and len(devices) == 1 and groups.alone(position):
            chosen[position] = devices.pop()


def requested(node: Node) -> str:
    """The device that the program asked for, or ""."""
    return node.origin.device if node.origin is not None else ""


class _Groups:
    """Union-find over nodes that must share a device: by colocation names, and by the variable they touch."""

    def __init__(self, program: Program, spanning: set[int]) -> None:
        self.parent = list(range(len(program.nodes)))
        self.joined: set[int] = set()
        named = {name for node in program.nodes if node.origin is not None for name in node.origin.colocation}
        by_key: dict[str, int] = {}
        for position, node in enumerate(program.nodes):
            if node.origin is not None:
                for key in _keys(program, position, node, named, spanning):
                    self._join(by_key.setdefault(key, position), position)
        self.members: dict[int, list[int]] = {}
        for position in sorted(self.joined):
            self.members.setdefault(self.root(position), []).append(position)

    def root(self, position: int) -> int:
        while self.parent[position] != position:
            self.parent[position] = self.parent[self.parent[position]]
            position = self.parent[position]
        return position

    def _join(self, a: int, b: int) -> None:
        if a != b:
            self.joined.update((a, b))
            low, high = sorted((self.root(a), self.root(b)))
            self.parent[high] = low

    def alone(self, position: int) -> bool:
        return position not in self.joined

    def of(self, position: int) -> list[int]:
        """The members of a node's group, in order."""
        return [position] if self.alone(position) else self.members[self.root(position)]


def _keys(program: Program, position: int, node: Node, named: set[str], spanning: set[int]) -> list[str]:
    """The names of the groups a node belongs to; its own only where it is among those that others name.

    Those that are `spanning` devices need not be where their variables are, and tapes are in pieces where there are such.
    """
    keys = [f"op {name}" for name in node.origin.colocation] if node.origin is not None else []
    if node.name in named:
        keys.append(f"op {node.name}")
    for ref in node.inputs:
        dtype = program.nodes[ref.node].specs[ref.output].dtype
        if dtype is variant:  # a tape stays where it was recorded
            if not spanning or not is_tape_ref(program, ref):
                keys.append(f"tape {ref.node}")
        elif dtype is resource and position not in spanning:
            keys.append(f"variable {variable_key(program, ref)}")
    for spec in node.specs:
        if spec.dtype is variant:
            keys.append(f"tape {position}")
        elif spec.dtype is resource:
            keys.append(f"variable {variable_key(program, Ref(position, 0))}")
    return keys


def _choose(
    program: Program,
    members: list[int],
    devices: Sequence[DeviceSpec],
    default: DeviceSpec,
    soft: bool,
    local: bool,
) -> DeviceSpec:
    """The device of a group of nodes, or of one."""
    return _found(*_merged_request(program, members, soft), devices, default, soft, local)


def _found(
    wanted: DeviceSpec, node: Node, devices: Sequence[DeviceSpec], default: DeviceSpec, soft: bool, local: bool
) -> DeviceSpec:
    """The device for what a node requests."""
    for attempt in attempts(wanted, soft, local):
        if attempt.matches(default):
            return default
        for device in devices:
            if attempt.matches(device):
                return device
    raise errors.InvalidArgumentError(
        node.origin,
        node.origin,
        f"Cannot assign a device for operation {_name(node)}: {{{{node {_name(node)}}}}} was explicitly assigned to {wanted} "
        f"but available devices are [ {', '.join(str(device) for device in devices)} ]. Make sure the device "
        f"specification refers to a valid device.{_hint(wanted, local)} {_made(node)}",
    )


def _hint(wanted: DeviceSpec, local: bool) -> str:
    """What may be wrong with a request that no device fits."""
    if local and wanted.job not in (None, "localhost"):
        return f" This session has no target, so it runs in this process, which is no task of job '{wanted.job}'."
    if wanted.device_type != "GPU":
        return ""
    return " weft runs on CPUs: ConfigProto(allow_soft_placement=True) takes one where a GPU is requested."


def attempts(wanted: DeviceSpec, soft: bool, local: bool) -> list[DeviceSpec]:
    """The request, and what soft placement also takes, the nearest first."""
    if not soft:
        return [wanted]
    attempts = [wanted, replace(wanted, device_index=None), wanted.task_only()]
    if local:
        device = DeviceSpec(device_type=wanted.device_type, device_index=wanted.device_index)
        attempts += [device, DeviceSpec()]
    return attempts


def _merged_request(program: Program, members: list[int], soft: bool) -> tuple[DeviceSpec, Node]:
    """What the members of a group request together, and one that requests something (to name in errors)."""
    wanted, teller = DeviceSpec(), program.nodes[members[0]]
    owners = [m for m in members if program.nodes[m].specs and program.nodes[m].specs[0].dtype.name == "resource"]
    for member in dict.fromkeys(owners + members):
        node = program.nodes[member]
        if not requested(node):
            continue
        request = DeviceSpec.from_string(requested(node))
        try:
            wanted = wanted.merge(request)
        except ValueError as conflict:
            # A variable's device goes before the wishes of those that use it (TF); so does the first with soft placement.
            if not soft and (member in owners or not owners):
                raise _cannot_colocate(program, members, node, teller, conflict) from None
            continue
        teller = node
    return wanted, teller


def _cannot_colocate(
    program: Program, members: list[int], node: Node, other: Node, conflict: ValueError
) -> errors.InvalidArgumentError:
    group = "".join(
        f"\n  {program.nodes[m].name} ({program.nodes[m].definition.type}) {requested(program.nodes[m]) or 'anywhere'}"
        for m in members[:20]
    )
    return errors.InvalidArgumentError(
        node.origin,
        node.origin,
        f"Cannot colocate nodes {{{{colocation_node {_name(node)}}}}} and {{{{colocation_node {_name(other)}}}}}: {conflict}. "
        f"{_made(node)}; {_made(other)}\nColocation Debug Info: this group must share a device:{group}",
    )


def _name(node: Node) -> str:
    """The operation's name, also where a node stands for a fed tensor."""
    return node.origin.name if node.origin is not None else node.name


def _made(node: Node) -> str:
    return f"{_name(node)} was made at {node.origin.location}" if node.origin is not None else ""
