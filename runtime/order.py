"""order: one order for the whole program, the same on any placement; reads of a variable go before unordered writes."""

from __future__ import annotations

import heapq
import random

from .program import Program, touched_variables


def order(program: Program, seed: int | None = None) -> list[int]:
    """The positions of the nodes in the order they run.

    As the graph was built, but a write waits until nothing else can run, so that every read that no dependency puts
    after it comes before. With a `seed`, a random one among all orders that the dependencies allow.
    """
    if seed is not None:
        return _any_order(program, random.Random(seed))
    waiting = _Waiting(program)
    ready: list[int] = []
    writes: list[int] = []
    done: list[int] = []
    for position in waiting.free:
        heapq.heappush(writes if waiting.writes(position) else ready, position)
    while ready or writes:
        position = heapq.heappop(ready) if ready else _next_write(writes, waiting)
        done.append(position)
        for freed in waiting.finish(position):
            heapq.heappush(writes if waiting.writes(freed) else ready, freed)
    return done


def _any_order(program: Program, choose: random.Random) -> list[int]:
    waiting = _Waiting(program)
    ready = list(waiting.free)
    done = []
    while ready:
        at = choose.randrange(len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        done.append(ready.pop())
        ready += waiting.finish(done[-1])
    return done


class _Waiting:
    """Which nodes wait for how many others, and which reads of each variable are still to come."""

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

    def writes(self, position: int) -> bool:
        return bool(self.written[position])

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


def _next_write(writes: list[int], waiting: _Waiting) -> int:
    """The first write that no unordered read of its variable is still to come for; the first of all where none is."""
    passed: list[int] = []
    chosen = None
    while writes and chosen is None:
        position = heapq.heappop(writes)
        if all(waiting.depends(read, position) for read in waiting.reads_to_come(position)):
            chosen = position
        else:
            passed.append(position)
    if chosen is None:
        chosen = passed.pop(0)
    for position in passed:
        heapq.heappush(writes, position)
    return chosen
