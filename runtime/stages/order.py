"""order: one order for the whole program, the same on any placement; reads of a variable go before unordered writes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from .lifetimes import Lifetimes
from .program import Program, touched_variables
from .waits import waits_of

#: A write that frees less waits for the others: what runs between two writes can be fused, what a write parts cannot.
WORTH_A_WRITE = 1 << 16


def order(program: Program, seed: int | None = None) -> list[int]:
    """The positions of the nodes in the order they run.

    As the graph was built, but what frees more memory than it takes runs as soon as it can, and a write that frees much
    as soon as nothing reads its variable's memory any more. Where something does that cannot run before the write, the
    write waits until nothing else can run, so that every read that no dependency puts after it comes before. What may have
    to wait for other steps comes when not even a write can run. With a `seed`, a random one among all orders that the
    dependencies allow, but that too.
    """
    if seed is not None:
        from random import Random  # only for this, and importing it takes long

        return _any_order(program, Random(seed).randrange)
    return _Queue(program).order()


class _Queue:
    """What can run now: what should at once, what as the graph was built, writes when nothing else can, and last what waits."""

    def __init__(self, program: Program) -> None:
        self.waiting = _Waiting(program)
        self.lifetimes = Lifetimes(program)
        self.urgent: list[int] = []
        self.ready: list[int] = []
        self.writes: list[int] = []
        self.waits: list[tuple[int, int]] = []
        self.may_wait = waits_of(program)
        self.done = [False] * len(program.nodes)

    def order(self) -> list[int]:
        waiting, lifetimes, done = self.waiting, self.lifetimes, self.done
        urgent, ready, writes = self.urgent, self.ready, self.writes
        found: list[int] = []
        self.put(waiting.free)
        while urgent or ready or writes or self.waits:
            if urgent:
                position = heapq.heappop(urgent)
            elif ready:
                position = heapq.heappop(ready)
            elif writes:
                position = _next_write(writes, waiting, done)
            else:
                position = heapq.heappop(self.waits)[1]
            if done[position]:  # it was in two queues
                continue
            done[position] = True
            found.append(position)
            self.put(waiting.finish(position))
            for last in lifetimes.finish(position):
                if not waiting.left[last] and not done[last] and self.is_urgent(last):
                    heapq.heappush(urgent, last)
            for write in waiting.undisturbed(position):
                if lifetimes.freed(write) >= WORTH_A_WRITE and write not in self.may_wait:
                    heapq.heappush(urgent, write)
        return found

    def is_urgent(self, position: int) -> bool:
        """Whether a node that can run should run at once, for the sake of memory."""
        if position in self.may_wait:
            return False
        if self.waiting.written[position]:
            return self.lifetimes.freed(position) >= WORTH_A_WRITE and self.waiting.is_undisturbed(position)
        return self.lifetimes.frees(position)

    def put(self, freed: list[int]) -> None:
        """Into its queue what can run from now on."""
        for position in freed:
            if position in self.may_wait:
                heapq.heappush(self.waits, (self.may_wait[position], position))
            elif self.waiting.written[position]:
                heapq.heappush(self.writes, position)
                if self.is_urgent(position):
                    heapq.heappush(self.urgent, position)
            else:
                heapq.heappush(self.urgent if self.is_urgent(position) else self.ready, position)


def _any_order(program: Program, choose: Callable[[int], int]) -> list[int]:
    waiting, may_wait = _Waiting(program), waits_of(program)
    ready: list[int] = []
    waits: list[tuple[int, int]] = []
    done: list[int] = []
    freed = list(waiting.free)
    while freed or ready or waits:
        ready += [position for position in freed if position not in may_wait]
        for position in freed:
            if position in may_wait:
                heapq.heappush(waits, (may_wait[position], position))
        if ready:
            at = choose(len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
        done.append(ready.pop() if ready else heapq.heappop(waits)[1])
        freed = waiting.finish(done[-1])
    return done


class _Waiting:
    """Which nodes wait for how many others, and what still reads or writes each variable."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.before = [{ref.node for ref in node.inputs} | set(node.controls) for node in program.nodes]
        self.after: list[list[int]] = [[] for _ in program.nodes]
        for position, others in enumerate(self.before):
            for other in others:
                self.after[other].append(position)
        self.left = [len(others) for others in self.before]
        self.free = [position for position, count in enumerate(self.left) if not count]
        self.written = [touched_variables(program, node, "write") for node in program.nodes]
        self.read = [touched_variables(program, node, "read") for node in program.nodes]
        self.reads: dict[str, set[int]] = {}
        for position in range(len(program.nodes)):
            for variable in self.read[position]:
                self.reads.setdefault(variable, set()).add(position)
        self._writers = self._by_variable(self.written)
        #: For each node, the variables that are written and whose memory it reads; for each of these, how many are left.
        self._looks = self._looking()
        self._lookers: dict[str, int] = {}
        for variables in self._looks.values():
            for variable in variables:
                self._lookers[variable] = self._lookers.get(variable, 0) + 1

    @staticmethod
    def _by_variable(touched: list[tuple[str, ...]]) -> dict[str, list[int]]:
        """The nodes that touch each variable, the first last."""
        found: dict[str, list[int]] = {}
        for position in range(len(touched) - 1, -1, -1):
            for variable in touched[position]:
                found.setdefault(variable, []).append(position)
        return found

    def _looking(self) -> dict[int, set[str]]:
        """The nodes that read variables which are written, or values that may lie in the memory of such."""
        found: dict[int, set[str]] = {}
        if not self._writers:
            return found
        inside: dict[int, set[str]] = {}
        for position, node in enumerate(self.program.nodes):
            mine = {variable for variable in self.read[position] if variable in self._writers}
            for ref in node.inputs if inside else ():
                mine |= inside.get(ref.node, mine)
            mine -= set(self.written[position])
            if mine:
                found[position] = mine
                if node.definition.view or self.read[position]:
                    inside[position] = mine
        return found

    def is_undisturbed(self, write: int) -> bool:
        """Whether no node that is to come reads what a write changes, and it is the first of those that write there."""
        return all(self._writers[each][-1] == write and not self._lookers.get(each) for each in self.written[write])

    def undisturbed(self, position: int) -> list[int]:
        """A node has run: the writes that wait for nothing any more, and were waiting for it alone."""
        touched = [*self._looks.get(position, ()), *self.written[position]] if self._writers else []
        if not touched:
            return []
        for variable in self._looks.get(position, ()):
            self._lookers[variable] -= 1
        for variable in self.written[position]:
            writers = self._writers[variable]
            if writers[-1] == position:
                writers.pop()
            else:
                writers.remove(position)
        following = {self._writers[each][-1] for each in touched if self._writers[each]}
        return [write for write in sorted(following) if not self.left[write] and self.is_undisturbed(write)]

    def finish(self, position: int) -> list[int]:
        """The nodes that waited for this one alone."""
        for variable in self.read[position]:
            self.reads.get(variable, set()).discard(position)
        freed = []
        for later in self.after[position]:
            self.left[later] -= 1
            if not self.left[later]:
                freed.append(later)
        return freed

    def reads_to_come(self, write: int) -> set[int]:
        return {read for variable in self.written[write] for read in self.reads.get(variable, ())} - {write}

    def depends(self, position: int, on: int) -> bool:
        """Whether one node comes after another by data or control."""
        stack, seen = [position], {position}
        while stack:
            for other in self.before[stack.pop()]:
                if other == on:
                    return True
                if other > on and other not in seen:
                    seen.add(other)
                    stack.append(other)
        return False


def _next_write(writes: list[int], waiting: _Waiting, done: list[bool]) -> int:
    """The first write that no unordered read of its variable is still to come for; the first of all where none is."""
    passed: list[int] = []
    chosen = None
    while writes and chosen is None:
        position = heapq.heappop(writes)
        if done[position] or all(waiting.depends(read, position) for read in waiting.reads_to_come(position)):
            chosen = position
        else:
            passed.append(position)
    if chosen is None:
        chosen = passed.pop(0)
    for position in passed:
        heapq.heappush(writes, position)
    return chosen
