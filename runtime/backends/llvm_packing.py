"""Packing: the text of functions that bring parts of a matrix into the order in which micro-kernels read them."""

from __future__ import annotations

from .llvm_steps import TYPES, Text, in_memory

#: So many lines before it is copied a line is asked for: lines far apart are nothing that the processor foresees.
AHEAD = 8


def copied(kind: str, lanes: int) -> tuple[str, str]:
    """The name and text of a function that copies lines of numbers: of a length, and so far apart here and there."""
    name, text = f"copied_{kind}_{lanes}", Text()
    text.lines.append(
        f"define void @{name}(ptr %from, ptr %to, i64 %lines, i64 %length, i64 %apart, i64 %placed) #0 {{"
    )
    text.begin("entry")
    whole = text.let(f"and i64 %length, {-lanes}")
    ahead = text.let(f"mul i64 %apart, {AHEAD}")
    mask = below(text, text.let(f"sub i64 %length, {whole}"), lanes)

    def line(number: str) -> None:
        source, target = moved(text, "%from", number, "%apart", kind), moved(text, "%to", number, "%placed", kind)

        def vector(at: str, mask: str = "") -> None:
            soon = element(text, source, text.let(f"add i64 {at}, {ahead}"), kind)
            text.intrinsic("llvm.prefetch.p0", "void", [("ptr", soon), ("i32", "0"), ("i32", "3"), ("i32", "1")])
            value = text.load(element(text, source, at, kind), kind, lanes, mask)
            text.store(value, element(text, target, at, kind), kind, lanes, mask)

        text.loop("0", whole, lanes, vector)
        vector(whole, mask)

    text.loop("0", "%lines", 1, line)
    return name, _ended(text)


def turned(kind: str, lanes: int) -> tuple[str, str]:
    """The name and text of a function that copies a matrix transposed, so many rows and columns of it.

    It writes a multiple of `lanes` columns and rows, the rest with anything in them, but reads no more than there are.
    """
    name, text = f"turned_{kind}_{lanes}", Text()
    text.lines.append(
        f"define void @{name}(ptr %from, ptr %to, i64 %rows, i64 %columns, i64 %apart, i64 %placed) #0 {{"
    )
    text.begin("entry")
    last = text.let("sub i64 %rows, 1")

    def square(row: str, column: str) -> None:
        mask = below(text, text.let(f"sub i64 %columns, {column}"), lanes)
        lines = []
        for number in range(lanes):
            own = text.intrinsic("llvm.umin.i64", "i64", [("i64", text.let(f"add i64 {row}, {number}")), ("i64", last)])
            place = element(text, moved(text, "%from", own, "%apart", kind), column, kind)
            lines.append(text.load(place, kind, lanes, mask))
        for number, line in enumerate(_transposed(text, kind, lines)):
            own = text.let(f"add i64 {column}, {number}")
            place = element(text, moved(text, "%to", own, "%placed", kind), row, kind)
            text.store(line, place, kind, lanes)

    text.loop("0", "%rows", lanes, lambda row: text.loop("0", "%columns", lanes, lambda column: square(row, column)))
    return name, _ended(text)


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


def below(text: Text, count: str, lanes: int) -> str:
    """The mask of the first `count` numbers of a vector."""
    least = text.intrinsic("llvm.umin.i64", "i64", [("i64", count), ("i64", str(lanes))])
    first = text.let(f"insertelement <{lanes} x i32> poison, i32 {text.let(f'trunc i64 {least} to i32')}, i64 0")
    all_ = text.let(f"shufflevector <{lanes} x i32> {first}, <{lanes} x i32> poison, <{lanes} x i32> zeroinitializer")
    numbers = f"<{', '.join(f'i32 {n}' for n in range(lanes))}>"
    return text.let(f"icmp ult <{lanes} x i32> {numbers}, {all_}")


def element(text: Text, start: str, index: str, kind: str) -> str:
    """Where an element is."""
    return text.let(f"getelementptr {TYPES[kind][0]}, ptr {start}, i64 {index}")


def moved(text: Text, start: str, number: str, apart: str, kind: str) -> str:
    """Where the line of that number begins, of lines so far apart."""
    return element(text, start, text.let(f"mul i64 {number}, {apart}"), kind)


def _ended(text: Text) -> str:
    text.put("ret void")
    text.lines.append("}")
    return "\n".join([*text.lines, *sorted(text.declared), 'attributes #0 = { nounwind "prefer-vector-width"="512" }'])
