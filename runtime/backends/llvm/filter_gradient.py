"""The gradient of a convolution by its filters, as it is compiled: which windows are summed in which order, and by which tiles.

A row of a window is one run of numbers in a padded line of an image, and so is a column of the matrix that has a window a
row: nothing is unrolled. Sums go over the windows of many lines, which therefore lie one behind the other.
"""

from __future__ import annotations

from typing import NamedTuple

from ....graph.ops.windows import Axis
from .frame import Array
from .micro import Micro, Tile
from .packing import copied
from .pool import pool_library
from .text import TYPES

#: Into so many slices the sum of all groups' sums is cut, for threads.
SLICES = 4


class Part(NamedTuple):
    """A row of the windows in a block: in which of the packed lines its first window is, and of which line of outputs.

    `length`: how many windows a term has; `terms`: how many terms.
    """

    row: int
    packed: int
    line: int
    length: int
    terms: int


class Form(NamedTuple):
    """What blocks with as many images and the same lines share.

    A line of an image, or of its outputs, is number `image * across + line * down` of the packed ones. `packed`: how many lines
    of images there is room for; `slots`: of which lines they are, and where the first image's goes.
    """

    images: int
    lines: int
    across: int
    down: int
    packed: int
    slots: tuple[tuple[int, int], ...]
    parts: tuple[Part, ...]


class Block(NamedTuple):
    """Some images, from the first on, and their outputs, from a line on."""

    image: int
    line: int
    form: int


class FilterGradient(NamedTuple):
    """What is to be written: images [N, H, W, C] and gradients [N, rows.out, cols.out, O] to [kh, kw, C, O].

    `chunk`: how many terms are added before they are added to the rest. `packs`: gradients are packed, else they lie as they
    are needed. `negative`: an empty sum is -0.
    """

    kind: str
    images: tuple[int, ...]
    filters: tuple[int, ...]
    rows: Axis
    cols: Axis
    forms: tuple[Form, ...]
    groups: tuple[tuple[Block, ...], ...]
    chunk: int
    packs: bool
    tile: Tile
    negative: bool
    release: bool

    @property
    def lanes(self) -> int:
        """How many numbers a vector has."""
        return self.tile.lanes(self.kind)

    @property
    def outputs(self) -> int:
        """How many channels the outputs have."""
        return self.filters[3]

    @property
    def width(self) -> int:
        """How many channels of the outputs a panel has."""
        return self.lanes * (2 if self.outputs > self.lanes else 1)

    @property
    def panels(self) -> int:
        """How many panels there are."""
        return -(-self.outputs // self.width)

    @property
    def run(self) -> int:
        """How many numbers a row of a window has."""
        return self.cols.kernel * self.images[3]

    @property
    def heights(self) -> tuple[int, int, int]:
        """The heights of the tiles of a row of a window: see `Tile.heights`."""
        return self.tile.heights(self.run, self.width == self.lanes)

    @property
    def line(self) -> int:
        """How many numbers a line has with its padding."""
        return (self.cols.before + self.cols.size + self.cols.after) * self.images[3]

    @property
    def size(self) -> int:
        """How many numbers the result has."""
        return self.rows.kernel * self.run * self.outputs

    def calls(self) -> int:
        """How many blocks of work there are for threads after the groups: those that add up the groups' sums."""
        return SLICES if len(self.groups) > 1 else 0

    def room(self) -> tuple[int, int, int]:
        """How many numbers of memory a thread needs for images, for gradients, and for the sums of a chunk."""
        windows = max(form.images * form.lines for form in self.forms) * self.cols.out
        counts = (
            max(form.packed for form in self.forms) * self.line,
            windows * self.panels * self.width if self.packs else 0,
            self.run * self.outputs,
        )
        first, second, third = (-(-count // 16) * 16 for count in counts)
        return first, second, third

    def room_bytes(self) -> int:
        """How much memory a thread needs to work in."""
        return sum(self.room()) * TYPES[self.kind][2]

    def micro(self, short: bool, last: bool) -> Micro:
        """The micro-kernel of tiles that are one row short, or of the last panel, which has less channels."""
        columns = self.outputs % self.width if last else self.width
        vectors = -(-columns // self.lanes)
        step = self.cols.stride * self.images[3]
        jump = self.line - (self.cols.out - 1) * step
        valid = columns - (vectors - 1) * self.lanes
        return Micro(self.kind, self.lanes, self.heights[0] - short, vectors, valid, 1, step, self.cols.out, jump)

    def library(self) -> dict[str, str]:
        """The functions that it calls, which others call as well: their texts by name."""
        _, high, tiles = self.heights
        full, rest = divmod(self.outputs, self.width)
        shorts = [short for short, count in ((False, high), (True, tiles - high)) if count]
        lasts = [last for last, count in ((False, full), (True, rest)) if count]
        micros = [self.micro(short, last) for short in shorts for last in lasts]
        return (
            {micro.name: micro.written() for micro in micros} | dict([copied(self.kind, self.lanes)]) | pool_library()
        )

    def arrays(self) -> list[Array]:
        """What the function is given: images, gradients, the result, and the sums of all groups but the first."""
        given = (self.images[0], self.rows.out, self.cols.out, self.outputs)
        totals = (len(self.groups) - 1, *self.filters)
        return [
            Array(self.kind, self.images, False),
            Array(self.kind, given, False),
            Array(self.kind, self.filters, True),
            Array(self.kind, totals, True),
        ]
