"""Convolutions: the text of a compiled function that multiplies the windows of images where they lie, image by image.

A row of a window is one run of numbers in a line of the image, so the windows of a line are the rows of a matrix that nobody
has to write down: the next begins as far on as the stride says.
"""

from __future__ import annotations

from typing import NamedTuple

from ....graph.ops.windows import Axis
from .frame import Array, begun, closing, opening, place_of, room_of_thread, working
from .micro import Micro, Tile, for_tiles
from .packing import call_pack, copied
from .pool import pool_library
from .tails import Tail, TailWriting
from .text import TYPES, Text


class Segment(NamedTuple):
    """One term of the sums: which row of the windows, for which lines of the outputs, and which of the row's numbers.

    Where rows of windows are short a term is all of a window, and `end` counts its numbers.
    """

    row: int
    first: int
    last: int
    start: int
    end: int


class Convolution(NamedTuple):
    """What is to be written: images [N, H, W, C] and filters [kh, kw, C, O] to [N, rows.out, cols.out, O].

    `segments`: the terms in the order in which they are added. `negative`: an empty sum is -0. `block`: how many images.
    `short`: a term is all of a window, its rows one after the other. `tail`: what follows the convolution.
    """

    kind: str
    images: tuple[int, ...]
    filters: tuple[int, ...]
    rows: Axis
    cols: Axis
    segments: tuple[Segment, ...]
    tile: Tile
    negative: bool
    block: int
    release: bool
    short: bool = False
    tail: Tail | None = None

    @property
    def lanes(self) -> int:
        """How many numbers a vector has."""
        return self.tile.lanes(self.kind)

    @property
    def width(self) -> int:
        """How many channels of the outputs a panel has."""
        return self.lanes * (2 if self.filters[3] > self.lanes else 1)

    @property
    def heights(self) -> tuple[int, int, int]:
        """The heights of the tiles of a line: see `Tile.heights`."""
        return self.tile.heights(self.cols.out, self.width == self.lanes)

    @property
    def line(self) -> int:
        """How many numbers a line has with its padding."""
        return (self.cols.before + self.cols.size + self.cols.after) * self.images[3]

    @property
    def above(self) -> int:
        """How many lines of padding windows meet above the image."""
        return self.rows.before if self.short else 0

    def is_padded(self) -> bool:
        """Whether lines get padding, or images get lines of it, for which each image is copied."""
        return self.cols.before + self.cols.after + self.above + (self.rows.after if self.short else 0) > 0

    def room_bytes(self) -> int:
        """How much memory a thread needs to work in."""
        lines = self.above + self.rows.size + (self.rows.after if self.short else 0)
        return lines * self.line * TYPES[self.kind][2] if self.is_padded() else 0

    @property
    def blocks(self) -> int:
        """How many blocks of images there are."""
        return -(-self.images[0] // self.block)

    def begins(self) -> bool:
        """Whether the first term gives each of the outputs a value, so that none has to be zero before."""
        first = self.segments[0]
        return (first.first, first.last) == (0, self.rows.out)

    def micro(self, short: bool, last: bool) -> Micro:
        """The micro-kernel of tiles that are one window short, or of the last panel, which has less channels."""
        columns = self.filters[3] % self.width if last else self.width
        vectors = -(-columns // self.lanes)
        valid, run = columns - (vectors - 1) * self.lanes, self.cols.kernel * self.images[3]
        runs = (run, self.rows.dilation * self.line - run + 1) if self.short else (0, 0)
        row = self.cols.stride * self.images[3]
        return Micro(self.kind, self.lanes, self.heights[0] - short, vectors, valid, row, 1, *runs)

    def library(self) -> dict[str, str]:
        """The functions that it calls, which others call as well: their texts by name."""
        _, high, tiles = self.heights
        full, rest = divmod(self.filters[3], self.width)
        shorts = [short for short, count in ((False, high), (True, tiles - high)) if count]
        lasts = [last for last, count in ((False, full), (True, rest)) if count]
        micros = [self.micro(short, last) for short in shorts for last in lasts]
        return (
            {micro.name: micro.written() for micro in micros} | dict([copied(self.kind, self.lanes)]) | pool_library()
        )

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of the outputs."""
        return (self.images[0], self.rows.out, self.cols.out, self.filters[3])

    def arrays(self) -> list[Array]:
        """What the function is given: images, filters, a bias if there is one; outputs, and those pooled, if they are."""
        given, made = [self.images, self.filters], [self.outputs]
        if self.tail is not None and self.tail.bias:
            given.append(self.filters[3:])
        if self.tail is not None and self.tail.pool is not None:
            rows, cols = self.tail.pool
            made.append((self.images[0], rows.out, cols.out, self.filters[3]))
        return [Array(self.kind, dims, False) for dims in given] + [Array(self.kind, dims, True) for dims in made]

    def written(self) -> str:
        """The text."""
        return _Writing(self).written()


class _Writing:
    """A convolution's function as it is written: its arguments are the arrays, how many threads help, and where room is."""

    def __init__(self, convolution: Convolution) -> None:
        self.convolution, self.text = convolution, Text()
        self.size = TYPES[convolution.kind][2]
        self.bias = self.pooled = ""

    def written(self) -> str:
        text, convolution = self.text, self.convolution
        arrays = convolution.arrays()
        values = [*opening(text, arrays), place_of(text, len(arrays) + 1)]
        result = next(number for number, array in enumerate(arrays) if array.written)
        working(text, values, (), convolution.blocks, convolution.release)
        closing(text, result)
        x, w, *others, rooms = begun(text, len(values))
        y, room = others[result - 2], room_of_thread(text, rooms, convolution.room_bytes())
        self.bias, self.pooled = others[0], others[-1]
        if convolution.is_padded():
            text.fill(room, convolution.room_bytes())
        text.loop(
            *text.share("%block", convolution.block, convolution.images[0]),
            1,
            lambda image: self._image(image, x, w, y, room),
        )
        text.end()
        return text.whole()

    def _image(self, image: str, x: str, w: str, y: str, room: str) -> None:
        """All outputs of one image."""
        text, convolution = self.text, self.convolution
        rows, cols, (_, _, _, channels) = convolution.rows, convolution.cols, convolution.images
        outputs = convolution.filters[3]
        source = self._at(x, image, rows.size * cols.size * channels)
        if convolution.is_padded():
            name = copied(convolution.kind, convolution.lanes)[0]
            length = cols.size * channels
            inside = self._at(room, str(convolution.above * convolution.line + cols.before * channels))
            call_pack(text, name, source, inside, rows.size, length, length, convolution.line)
            source = room
        target = self._at(y, image, rows.out * cols.out * outputs)
        if not convolution.begins():
            text.fill(target, rows.out * cols.out * outputs * self.size)
        full, rest = divmod(outputs, convolution.width)
        if full:
            text.loop("0", str(full), 1, lambda panel: self._panel(panel, source, w, target, False))
        if rest:
            self._panel(str(full), source, w, target, True)
        tail = convolution.tail
        if tail is not None:
            pooled = self._at(self.pooled, image, tail.pool[0].out * tail.pool[1].out * outputs) if tail.pool else ""
            dims = rows.out, cols.out, outputs
            TailWriting(text, tail, convolution.kind, convolution.lanes, dims).image(target, pooled, self.bias)

    def _panel(self, panel: str, source: str, w: str, target: str, last: bool) -> None:
        """Some channels of an image's outputs: term after term."""
        text, convolution = self.text, self.convolution
        rows, outputs = convolution.rows, convolution.filters[3]
        run = convolution.cols.kernel * convolution.images[3]
        column = text.let(f"mul i64 {panel}, {convolution.width}")
        for number, segment in enumerate(convolution.segments):
            first = number == 0 and convolution.begins()
            filters = self._at(self._at(w, str((segment.row * run + segment.start) * outputs)), column)
            shift = segment.row * rows.dilation - rows.before + convolution.above

            def line_of(line: str, segment: Segment = segment, filters: str = filters, shift: int = shift,
                        first: bool = first) -> None:  # fmt: skip
                met = text.let(f"add i64 {text.let(f'mul i64 {line}, {rows.stride}')}, {shift}")
                begin = self._at(self._at(source, met, convolution.line), str(segment.start))
                result = self._at(self._at(target, line, convolution.cols.out * outputs), column)
                self._line(begin, filters, result, segment.end - segment.start, first, last)

            text.loop(str(segment.first), str(segment.last), 1, line_of)

    def _line(self, begin: str, filters: str, result: str, count: int, first: bool, last: bool) -> None:
        """One term of the outputs of a line, tile by tile."""
        text, convolution = self.text, self.convolution
        outputs, zero = convolution.filters[3], "-0.0" if convolution.negative else "0.0"

        def tile_of(short: bool, window: str) -> None:
            micro = convolution.micro(short, last)
            places = self._at(begin, window, micro.row), filters, self._at(result, window, outputs)
            micro.call(text, *places, outputs, str(count), outputs, str(int(first)), zero, str(micro.run))

        for_tiles(text, convolution.heights, tile_of)

    def _at(self, start: str, index: str, size: int = 1) -> str:
        """Where the element of an index lies, or the line of it, each of some size."""
        return self.text.at(start, index, self.convolution.kind, size)
