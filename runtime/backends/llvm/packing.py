"""Packing: the text of functions that bring parts of a matrix into the order in which micro-kernels read them."""

from __future__ import annotations

from .text import Text, in_memory

#: So many lines before it is copied a line is asked for: lines far apart are nothing that the processor foresees.
AHEAD = 8


def copied(kind: str, lanes: int) -> tuple[str, str]:
    """The name and text of a function that copies lines of numbers: of a length, and so far apart here and there."""
    name, text = f"copied_{kind}_{lanes}", Text()
    text.define(f"void @{name}(ptr %from, ptr %to, i64 %lines, i64 %length, i64 %apart, i64 %placed)")
    whole = text.let(f"and i64 %length, {-lanes}")
    ahead = text.let(f"mul i64 %apart, {AHEAD}")
    mask = text.below(text.let(f"sub i64 %length, {whole}"), lanes)

    def line(number: str) -> None:
        source, target = text.at("%from", number, kind, "%apart"), text.at("%to", number, kind, "%placed")

        def vector(at: str, mask: str = "") -> None:
            soon = text.at(source, text.let(f"add i64 {at}, {ahead}"), kind)
            text.ask_for(soon, False)
            value = text.load(text.at(source, at, kind), kind, lanes, mask)
            text.store(value, text.at(target, at, kind), kind, lanes, mask)

        text.loop("0", whole, lanes, vector)
        vector(whole, mask)

    text.loop("0", "%lines", 1, line)
    text.end()
    return name, text.whole()


def turned(kind: str, lanes: int) -> tuple[str, str]:
    """The name and text of a function that copies a matrix transposed, so many rows and columns of it.

    It writes a multiple of `lanes` columns and rows, the rest with anything in them, but reads no more than there are.
    """
    name, text = f"turned_{kind}_{lanes}", Text()
    text.define(f"void @{name}(ptr %from, ptr %to, i64 %rows, i64 %columns, i64 %apart, i64 %placed)")
    last = text.let("sub i64 %rows, 1")

    def square(row: str, column: str) -> None:
        mask = text.below(text.let(f"sub i64 %columns, {column}"), lanes)
        lines = []
        for number in range(lanes):
            own = text.least(text.let(f"add i64 {row}, {number}"), last)
            place = text.at(text.at("%from", own, kind, "%apart"), column, kind)
            lines.append(text.load(place, kind, lanes, mask))
        for number, line in enumerate(_transposed(text, kind, lines)):
            own = text.let(f"add i64 {column}, {number}")
            place = text.at(text.at("%to", own, kind, "%placed"), row, kind)
            text.store(line, place, kind, lanes)

    text.loop("0", "%rows", lanes, lambda row: text.loop("0", "%columns", lanes, lambda column: square(row, column)))
    text.end()
    return name, text.whole()


def _transposed(text: Text, kind: str, lines: list[str]) -> list[str]:
    """As many vectors as each has numbers, transposed: squares of one number, of two, of four and so on change places."""
    lanes, vector = len(lines), in_memory(kind, len(lines))
    side = 1
    while side < lanes:
        upper = [n if not n & side else n - side + lanes for n in range(lanes)]
        lower = [n + side if not n & side else n + lanes for n in range(lanes)]
        for one in [one for one in range(lanes) if not one & side]:
            pair = f"{vector} {lines[one]}, {vector} {lines[one + side]}"
            lines[one], lines[one + side] = (
                text.let(f"shufflevector {pair}, <{lanes} x i32> <{', '.join(f'i32 {n}' for n in order)}>")
                for order in (upper, lower)
            )
        side *= 2
    return lines


def call_pack(
    text: Text, name: str, source: str, target: str, lines: int | str, length: int | str, apart: int | str,
    placed: int | str,
) -> None:  # fmt: skip
    """The line that calls one of these functions, by name."""
    text.declared.add(f"declare void @{name}(ptr, ptr, i64, i64, i64, i64)")
    text.put(f"call void @{name}(ptr {source}, ptr {target}, i64 {lines}, i64 {length}, i64 {apart}, i64 {placed})")
