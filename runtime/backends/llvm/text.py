"""The text of formulas in LLVM's language: a line or a few a step, on vectors of numbers or on single ones."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from ..formulas import KINDS, Step

#: How LLVM calls a type of number in memory, its short name in the names of functions, and how many bytes it has.
TYPES = {
    "float32": ("float", "f32", 4), "float64": ("double", "f64", 8), "int32": ("i32", "i32", 4),
    "int64": ("i64", "i64", 8), "bool": ("i8", "i8", 1),
}  # fmt: skip
#: How many numbers are computed at a time: a processor with shorter vectors takes several.
WIDTH = 16

_FLOATS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGERS = {"add": "add", "sub": "sub", "mul": "mul"}
_TESTS = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_SIGNED = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
_FUNCTIONS = {"sqrt": "sqrt", "abs": "fabs", "floor": "floor", "ceil": "ceil", "rint": "rint"}


def wide(kind: str, width: int) -> str:
    """The type of so many numbers in registers, where truths are bits."""
    one = "i1" if kind == "bool" else TYPES[kind][0]
    return one if width == 1 else f"<{width} x {one}>"


def in_memory(kind: str, width: int) -> str:
    """The type of so many numbers in memory."""
    return TYPES[kind][0] if width == 1 else f"<{width} x {TYPES[kind][0]}>"


def repeated(text: str, kind: str, width: int) -> str:
    """A constant as so many numbers. `kind`: LLVM's name of one."""
    return text if width == 1 else f"<{', '.join([f'{kind} {text}'] * width)}>"


def constant(step: Step, width: int) -> str:
    """The number of a step that is a constant."""
    kind, number = TYPES[step.kind][0], step.extra
    if not KINDS[step.kind]:
        return repeated(str(number), kind, width)
    if step.kind == "float32":
        number = struct.unpack("f", struct.pack("f", number))[0]
    return repeated(f"0x{struct.pack('>d', number).hex().upper()}", kind, width)


class Text:
    """Lines of a function as they are written, and what functions of LLVM they call."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self._count = 0
        self._entry = 0

    def name(self) -> str:
        """A name that is new."""
        self._count += 1
        return f"%n{self._count}"

    def block(self) -> str:
        """The name of a block that is new."""
        self._count += 1
        return f"b{self._count}"

    def put(self, line: str) -> None:
        """A line that gives no value."""
        self.lines.append(f"  {line}")

    def begin(self, block: str) -> None:
        """What follows is a block of that name."""
        self.lines.append(f"{block}:")

    def let(self, expression: str) -> str:
        """The name of the value of an expression."""
        name = self.name()
        self.lines.append(f"  {name} = {expression}")
        return name

    def intrinsic(self, name: str, result: str, arguments: Sequence[tuple[str, str]]) -> str:
        """A call of LLVM's own function; of arguments with their types."""
        self.declared.add(f"declare {result} @{name}({', '.join(kind for kind, _ in arguments)})")
        call = f"call {result} @{name}({', '.join(f'{kind} {value}' for kind, value in arguments)})"
        if result == "void":
            self.put(call)
            return ""
        return self.let(call)

    def loop(self, low: str, high: str, step: int, body: Callable[[str], None]) -> None:
        """`body` for each `step`th number from low to below high."""
        before, head, inside, latch, after = (self.block() for _ in range(5))
        self.put(f"br label %{before}")
        self.begin(before)
        self.put(f"br label %{head}")
        self.begin(head)
        at, following = self.name(), self.name()
        self.put(f"{at} = phi i64 [ {low}, %{before} ], [ {following}, %{latch} ]")
        going = self.let(f"icmp ult i64 {at}, {high}")
        self.put(f"br i1 {going}, label %{inside}, label %{after}")
        self.begin(inside)
        body(at)
        self.put(f"br label %{latch}")
        self.begin(latch)
        self.put(f"{following} = add i64 {at}, {step}")
        self.put(f"br label %{head}")
        self.begin(after)

    def define(self, head: str) -> None:
        """What follows is a function of that head."""
        self.lines += [f"define {head} #0 {{", "entry:"]
        self._entry = len(self.lines)

    def end(self) -> None:
        """The function ends, which gives nothing back."""
        self.lines += ["  ret void", "}"]

    def room(self, kind: str) -> str:
        """Memory on the stack, asked for where the function begins."""
        name = self.name()
        self.lines.insert(self._entry, f"  {name} = alloca {kind}, align 64")
        return name

    def whole(self) -> str:
        """All of the text."""
        attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{32 * WIDTH}" }}'
        return "\n".join([*self.lines, *sorted(self.declared), attributes])

    def at(self, start: str, index: str, kind: str, size: int | str = 1) -> str:
        """Where the element of an index lies, or the line of it, each of some size."""
        if size != 1:
            index = self.let(f"mul i64 {index}, {size}")
        return self.let(f"getelementptr {TYPES[kind][0]}, ptr {start}, i64 {index}")

    def least(self, one: str, other: int | str) -> str:
        """The smaller of two numbers without a sign."""
        return self.intrinsic("llvm.umin.i64", "i64", [("i64", one), ("i64", str(other))])

    def share(self, number: str, size: int, total: int | str) -> tuple[str, str]:
        """The first of the block of that number, and the one after its last: each has so many of a total."""
        low = self.let(f"mul i64 {number}, {size}")
        return low, self.least(self.let(f"add i64 {low}, {size}"), total)

    def fill(self, start: str, size: int | str, byte: int = 0) -> None:
        """So many bytes become this one."""
        given = [("ptr", start), ("i8", str(byte)), ("i64", str(size)), ("i1", "false")]
        self.intrinsic("llvm.memset.p0.i64", "void", given)

    def ask_for(self, place: str, written: bool) -> None:
        """Ask for a line of memory, to be written to or read."""
        hints = [("ptr", place), ("i32", str(int(written))), ("i32", "3"), ("i32", "1")]
        self.intrinsic("llvm.prefetch.p0", "void", hints)

    def below(self, count: str, width: int) -> str:
        """The mask of the first `count` numbers of a vector."""
        some = self.let(f"trunc i64 {self.least(count, width)} to i32")
        first = self.let(f"insertelement <{width} x i32> poison, i32 {some}, i64 0")
        all_ = self.let(
            f"shufflevector <{width} x i32> {first}, <{width} x i32> poison, <{width} x i32> zeroinitializer"
        )
        numbers = f"<{', '.join(f'i32 {n}' for n in range(width))}>"
        return self.let(f"icmp ult <{width} x i32> {numbers}, {all_}")

    def splat(self, value: str, kind: str, width: int) -> str:
        """A value in registers, as many times."""
        if width == 1:
            return value
        one, all_ = wide(kind, 1), wide(kind, width)
        first = self.let(f"insertelement {all_} poison, {one} {value}, i64 0")
        return self.let(f"shufflevector {all_} {first}, {all_} poison, <{width} x i32> zeroinitializer")

    def load(self, pointer: str, kind: str, width: int, mask: str = "") -> str:
        """Numbers from memory; where the mask does not hold, zeros."""
        memory, size = in_memory(kind, width), TYPES[kind][2]
        if mask:
            value = self.intrinsic(
                f"llvm.masked.load.v{width}{TYPES[kind][1]}.p0", memory,
                [("ptr", pointer), ("i32", str(size)), (f"<{width} x i1>", mask), (memory, "zeroinitializer")],
            )  # fmt: skip
        else:
            value = self.let(f"load {memory}, ptr {pointer}, align {size}")
        if kind != "bool":
            return value
        return self.let(f"icmp ne {memory} {value}, {'0' if width == 1 else 'zeroinitializer'}")

    def store(self, value: str, pointer: str, kind: str, width: int, mask: str = "") -> None:
        """Numbers into memory, where the mask holds."""
        memory, size = in_memory(kind, width), TYPES[kind][2]
        if kind == "bool":
            value = self.let(f"zext {wide(kind, width)} {value} to {memory}")
        if mask:
            self.intrinsic(
                f"llvm.masked.store.v{width}{TYPES[kind][1]}.p0", "void",
                [(memory, value), ("ptr", pointer), ("i32", str(size)), (f"<{width} x i1>", mask)],
            )  # fmt: skip
        else:
            self.put(f"store {memory} {value}, ptr {pointer}, align {size}")

    def step(self, step: Step, kinds: Sequence[str], values: Sequence[str], width: int) -> str:
        """The value of a step of a formula, from those of its arguments, of these types."""
        own, name = wide(step.kind, width), step.name
        kind, taken = kinds[0], wide(kinds[0], width)
        first = values[0]
        match name:
            case "add" | "sub" | "mul" | "div":
                return self.let(f"{(_FLOATS if KINDS[kind] else _INTEGERS)[name]} {own} {first}, {values[1]}")
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                test = f"fcmp {_TESTS[name]}" if KINDS[kind] else f"icmp {_SIGNED[name]}"
                return self.let(f"{test} {taken} {first}, {values[1]}")
            case "select":
                return self.let(f"select {taken} {first}, {own} {values[1]}, {own} {values[2]}")
            case "neg" if KINDS[kind]:
                return self.let(f"fneg {own} {first}")
            case "neg":
                return self.let(f"sub {own} {repeated('0', TYPES[kind][0], width)}, {first}")
            case "and" | "or":
                return self.let(f"{name} {own} {first}, {values[1]}")
            case "not":
                return self.let(f"xor {own} {first}, {repeated('1', 'i1', width)}")
            case "cast":
                return self.let(f"{_conversion(kind, step.kind)} {taken} {first} to {own}")
        suffix = TYPES[kind][1] if width == 1 else f"v{width}{TYPES[kind][1]}"
        return self.intrinsic(f"llvm.{_FUNCTIONS[name]}.{suffix}", own, [(own, first)])


def _conversion(kind: str, into: str) -> str:
    """LLVM's word for a change of type."""
    if kind == "bool":
        return "uitofp" if KINDS[into] else "zext"
    if KINDS[kind]:
        return "fpext" if into == "float64" else "fptrunc"
    if KINDS[into]:
        return "sitofp"
    return "sext" if into == "int64" else "trunc"
