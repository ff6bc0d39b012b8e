"""The gradient of a convolution by its filters: the text of the compiled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from .filter_gradient import FilterGradient
from .frame import begun, closing, opening, place_of, room_of_thread, working
from .micro import for_tiles
from .packing import call_pack, copied
from .text import TYPES, Text, in_memory


def written(gradient: FilterGradient) -> str:
    """The text."""
    return _Writing(gradient).written()


class _Writing:
    """The function as it is written: its arguments are the arrays, how many threads help, and where room is.

    Its blocks are the groups; then the slices in which the groups' sums are added.
    """

    def __init__(self, gradient: FilterGradient) -> None:
        self.gradient, self.text = gradient, Text()
        self.size = TYPES[gradient.kind][2]
        self.blocks_at = 0

    def written(self) -> str:
        text, gradient, table = self.text, self.gradient, self._table()
        values = [*opening(text, gradient.arrays()), place_of(text, 5)]
        working(text, values, (), len(gradient.groups), gradient.release)
        if gradient.calls():
            working(text, values, (), gradient.calls(), gradient.release, "added")
        closing(text, 2)
        x, dy, result, totals, rooms = begun(text, len(values))
        room = room_of_thread(text, rooms, gradient.room_bytes())
        self._group("%block", x, dy, result, totals, room)
        text.end()
        self._block()
        self._part()
        self._added()
        numbers = ", ".join(f"i64 {number}" for number in table)
        return f"@table = private constant [{len(table)} x i64] [{numbers}]\n{text.whole()}"

    def _table(self) -> list[int]:
        """What the function has to know of groups, of blocks, of their forms and the parts of these.

        For each group its first block and the one after its last; for each block its image, line, and where its form is.
        """
        gradient = self.gradient
        blocks = [block for group in gradient.groups for block in group]
        ends = [0, *accumulate(len(group) for group in gradient.groups)]
        bounds = [number for pair in pairwise(ends) for number in pair]
        self.blocks_at = len(bounds)
        starts: list[int] = []
        forms: list[int] = []
        for form in gradient.forms:
            starts.append(self.blocks_at + 3 * len(blocks) + len(forms))
            forms += [form.images, form.lines, form.across, form.down, len(form.slots)]
            forms += [number for part in form.parts for number in part]
            forms += [number for slot in form.slots for number in slot]
        listed = [number for block in blocks for number in (block.image, block.line, starts[block.form])]
        return [*bounds, *listed, *forms]

    def _if(self, test: str, then: Callable[[], object], otherwise: Callable[[], object] = lambda: None) -> None:
        """One of two things is done."""
        text = self.text
        yes, no, after = (text.block() for _ in range(3))
        text.put(f"br i1 {test}, label %{yes}, label %{no}")
        for name, what in ((yes, then), (no, otherwise)):
            text.begin(name)
            what()
            text.put(f"br label %{after}")
        text.begin(after)

    def _group(self, index: str, x: str, dy: str, result: str, totals: str, room: str) -> None:
        """The blocks of a group, whose sum is the result's memory or that of the group."""
        text, gradient = self.text, self.gradient
        before = text.let(f"sub i64 {index}, 1")
        own = self._at(totals, before, gradient.size)
        first = text.let(f"icmp eq i64 {index}, 0")
        target = text.let(f"select i1 {first}, ptr {result}, ptr {own}")
        twice = text.let(f"mul i64 {index}, 2")
        begin, end = self._entry(twice, 0), self._entry(twice, 1)

        def block(number: str) -> None:
            add = text.let(f"icmp ne i64 {number}, {begin}")
            at = text.let(f"mul i64 {number}, 3")
            image, line, form = (self._entry(at, self.blocks_at + n) for n in range(3))
            (_, height, width, channels), outputs = gradient.images, gradient.outputs
            source = self._at(x, image, height * width * channels)
            given = self._at(self._at(dy, image, gradient.rows.out * gradient.cols.out * outputs), line,
                             gradient.cols.out * outputs)  # fmt: skip
            text.put(f"call void @block(ptr {source}, ptr {given}, ptr {target}, ptr {room}, i64 {form}, i1 {add})")

        text.loop(begin, end, 1, block)

    def _block(self) -> None:
        """The function that adds a block's part of the sums: what it needs is packed, then each row of the windows."""
        text, gradient = self.text, self.gradient
        text.define("internal void @block(ptr %x, ptr %dy, ptr %c, ptr %room, i64 %form, i1 %add)")
        images, lines, across, down, slots = (self._entry("%form", n) for n in range(5))
        first, second, _ = gradient.room()
        given = self._at("%room", str(first))
        temporary = self._at("%room", str(first + second))
        self._pack_images(images, across, slots)
        apart = "0"
        if gradient.packs:
            windows = text.let(f"mul i64 {text.let(f'mul i64 {images}, {lines}')}, {gradient.cols.out}")
            apart = text.let(f"mul i64 {windows}, {gradient.width}")
            self._pack_gradients(given, images, lines, across, down, apart)

        def part(number: str) -> None:
            at = text.let(f"add i64 %form, {text.let(f'mul i64 {number}, 5')}")
            row, packed, line, length, terms = (self._entry(at, 5 + n) for n in range(5))
            a = self._at("%room", packed, gradient.line)
            b = self._at(given if gradient.packs else "%dy", line, gradient.cols.out * self.step)
            c = self._at("%c", row, gradient.run * gradient.outputs)
            text.put(
                f"call void @part(ptr {a}, ptr {b}, ptr {c}, ptr {temporary}, i64 {length}, i64 {terms}, i64 {apart}, "
                "i1 %add)"
            )

        text.loop("0", str(gradient.rows.kernel), 1, part)
        text.end()

    @property
    def step(self) -> int:
        """How far apart the gradients of two windows lie."""
        return self.gradient.width if self.gradient.packs else self.gradient.outputs

    def _pack_images(self, images: str, across: str, slots: str) -> None:
        """The lines of the images that windows meet, with zeros around them."""
        text, gradient = self.text, self.gradient
        _, height, width, channels = gradient.images
        self.text.fill("%room", gradient.room()[0] * self.size)
        table = text.let(f"add i64 %form, {5 + 5 * gradient.rows.kernel}")
        placed = text.let(f"mul i64 {across}, {gradient.line}")
        inside = self._at("%room", str(gradient.cols.before * channels))

        def slot(number: str) -> None:
            at = text.let(f"add i64 {table}, {text.let(f'mul i64 {number}, 2')}")
            source, target = self._entry(at, 0), self._entry(at, 1)
            begin = self._at("%x", source, width * channels)
            end = self._at(inside, target, gradient.line)
            self._copy(begin, end, images, str(width * channels), str(height * width * channels), placed)

        text.loop("0", slots, 1, slot)

    def _pack_gradients(self, given: str, images: str, lines: str, across: str, down: str, apart: str) -> None:
        """The gradients in the order of the windows, panel after panel."""
        text, gradient = self.text, self.gradient
        width, outputs, out = gradient.width, gradient.outputs, gradient.cols.out
        full, rest = divmod(outputs, width)

        def some(panel: str, columns: int) -> None:
            place = text.let(f"mul i64 {panel}, {apart}")
            column = text.let(f"mul i64 {panel}, {width}")

            def line_of(image: str, line: str) -> None:
                source = self._at(self._at("%dy", image, gradient.rows.out * out * outputs), line, out * outputs)
                number = text.let(
                    f"add i64 {text.let(f'mul i64 {image}, {across}')}, {text.let(f'mul i64 {line}, {down}')}"
                )
                target = self._at(self._at(given, place), number, out * width)
                self._copy(self._at(source, column), target, str(out), str(columns), str(outputs), str(width))

            text.loop("0", images, 1, lambda image: text.loop("0", lines, 1, lambda line: line_of(image, line)))

        if full:
            text.loop("0", str(full), 1, lambda panel: some(panel, width))
        if rest:
            some(str(full), rest)

    def _part(self) -> None:
        """The function that sums over the windows for one row of them: chunk by chunk, each of some terms."""
        text, gradient = self.text, self.gradient
        text.define(
            "internal void @part(ptr %a, ptr %b, ptr %c, ptr %temporary, i64 %length, i64 %terms, i64 %apart, i1 %add)"
        )
        size = gradient.run * gradient.outputs
        empty = text.let("icmp eq i64 %terms, 0")
        fresh = text.let("xor i1 %add, true")
        self._if(text.let(f"and i1 {empty}, {fresh}"), lambda: self.text.fill("%c", size * self.size))

        def chunk(start: str) -> None:
            begins = text.let(f"icmp eq i64 {start}, 0")
            direct = text.let(f"and i1 {begins}, {fresh}")
            target = text.let(f"select i1 {direct}, ptr %c, ptr %temporary")
            end = text.least(text.let(f"add i64 {start}, {gradient.chunk}"), "%terms")
            text.loop(start, end, 1, lambda term: self._term(term, start, target))
            self._if(direct, lambda: None, lambda: self._sum("0", str(size), "%c", ["%temporary"]))

        text.loop("0", "%terms", gradient.chunk, chunk)
        text.end()

    def _term(self, term: str, start: str, target: str) -> None:
        """One term of the sums: the products of some windows, panel by panel and tile by tile."""
        text, gradient = self.text, self.gradient
        first = text.let(f"icmp eq i64 {term}, {start}")
        window = text.let(f"mul i64 {term}, %length")
        line, column = (text.let(f"{what} i64 {window}, {gradient.cols.out}") for what in ("udiv", "urem"))
        a = self._at(self._at("%a", line, gradient.line), column, gradient.cols.stride * gradient.images[3])
        b = self._at("%b", window, self.step)
        left = text.let(f"sub i64 {gradient.cols.out}, {column}")
        zero, outputs = "-0.0" if gradient.negative else "0.0", gradient.outputs

        def panel_of(panel: str, last: bool) -> None:
            column = text.let(f"mul i64 {panel}, {gradient.width}")
            second = self._at(b, text.let(f"mul i64 {panel}, %apart") if gradient.packs else column)

            def tile_of(short: bool, row: str) -> None:
                places = self._at(a, row), second, self._at(self._at(target, row, outputs), column)
                micro = gradient.micro(short, last)
                micro.call(text, *places, outputs, "%length", self.step, first, zero, left)

            for_tiles(text, gradient.heights, tile_of)

        full, rest = divmod(outputs, gradient.width)
        if full:
            text.loop("0", str(full), 1, lambda panel: panel_of(panel, False))
        if rest:
            panel_of(str(full), True)

    def _added(self) -> None:
        """The function that adds the sums of all other groups to the first's, for a slice of the numbers."""
        text, gradient = self.text, self.gradient
        _, _, result, totals, _ = begun(text, 5, name="added")
        others, slices = len(gradient.groups) - 1, max(1, gradient.calls())
        step = -(-gradient.size // (slices * gradient.lanes)) * gradient.lanes
        self._sum(
            *text.share("%block", step, gradient.size),
            result,
            [self._at(totals, str(group * gradient.size)) for group in range(others)],
        )
        text.end()

    def _sum(self, low: str, high: str, target: str, terms: Sequence[str]) -> None:
        """Some numbers each of terms added to a target, in order."""
        text, kind, lanes = self.text, self.gradient.kind, self.gradient.lanes

        def vector(at: str) -> None:
            mask = text.below(text.let(f"sub i64 {high}, {at}"), lanes)
            total = text.load(self._at(target, at), kind, lanes, mask)
            for term in terms:
                value = text.load(self._at(term, at), kind, lanes, mask)
                total = text.let(f"fadd {in_memory(kind, lanes)} {total}, {value}")
            text.store(total, self._at(target, at), kind, lanes, mask)

        text.loop(low, high, lanes, vector)

    def _copy(self, source: str, target: str, lines: str, length: str, apart: str, placed: str) -> None:
        name = copied(self.gradient.kind, self.gradient.lanes)[0]
        call_pack(self.text, name, source, target, lines, length, apart, placed)

    def _entry(self, at: str, offset: int) -> str:
        """The number of the table at some place."""
        place = self.text.let(f"getelementptr i64, ptr @table, i64 {self.text.let(f'add i64 {at}, {offset}')}")
        return self.text.let(f"load i64, ptr {place}, align 8")

    def _at(self, start: str, index: str, size: int = 1) -> str:
        """Where the element of an index lies, or the line of it, each of some size."""
        return self.text.at(start, index, self.gradient.kind, size)
