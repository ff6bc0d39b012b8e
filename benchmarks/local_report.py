"""What local.py has measured, as tables for people and as a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

#: One contender on one workload: see `local.summary`.
Row = dict[str, Any]
Rows = dict[str, dict[str, Row]]

#: Losses may differ by this much, relative to the largest.
TOLERANCE = 2e-3


def by_workload(rows: list[Row]) -> Rows:
    found: Rows = {}
    for row in rows:
        found.setdefault(row["workload"], {})[row["contender"]] = row
    return found


def table(corner: str, columns: list[str], lines: list[list[str]]) -> str:
    """A Markdown table whose columns are aligned."""
    cells = [[corner, *columns], *lines]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [
        [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        for line in cells
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [shown[0], ruler, *shown[1:]])


def time_of(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def spread_of(row: Row) -> str:
    """The median, and how far the slowest and the fastest round are apart, in percent of it."""
    return f"{time_of(row['median'])} ±{(row['most'] - row['least']) / row['median'] * 50:.0f}%"


def ratio(rows: dict[str, Row], contender: str, base: str) -> float | None:
    """How much longer a contender takes than the base, where both have done it."""
    if "error" in rows.get(contender, {"error": ""}) or "error" in rows.get(base, {"error": ""}):
        return None
    return float(rows[contender]["median"] / rows[base]["median"])


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def tables(rows: list[Row]) -> Iterator[str]:
    """Times, ratios and memory, and what is to be said beside them."""
    found = by_workload(rows)
    columns = list(dict.fromkeys(row["contender"] for row in rows))
    base = columns[0]

    def block(corner: str, cell: Callable[[Row], str], shown: Rows) -> str:
        lines = [
            [name, *("-" if "error" in has.get(c, {"error": ""}) else cell(has[c]) for c in columns)]
            for name, has in shown.items()
        ]
        return table(corner, columns, lines)

    yield block("a step", spread_of, found)
    if len(columns) > 1:
        yield _ratios(found, columns, base)
    yield block("peak, MB", lambda row: f"{row['peak'] / 1e6:.0f}", found)
    yield from _notes(rows)


def _ratios(found: Rows, columns: list[str], base: str) -> str:
    lines, means = [], []
    for name, has in found.items():
        values = [ratio(has, contender, base) for contender in columns]
        lines.append([name, *("-" if value is None else f"{value:.2f}" for value in values)])
    for contender in columns:
        values = [ratio(has, contender, base) for name, has in found.items() if name not in ("null_step", "first_run")]
        there = [value for value in values if value is not None]
        means.append(f"{geometric_mean(there):.2f}" if there else "-")
    steps = [["geometric mean*", *means]]
    return table(f"time / {base}", columns, lines + steps) + "\n\n\\* of the workloads but null_step and first_run."


def _notes(rows: list[Row]) -> Iterator[str]:
    """What was left out and why, a line a reason; and whose losses are not those of the first."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "error" in row:
            reasons.setdefault((row["contender"], row["error"]), []).append(row["workload"])
        elif row["difference"] > TOLERANCE:
            yield f"{row['workload']}, {row['contender']}: LOSSES DIFFER by {row['difference']:.1e}"
    for (contender, error), workloads in reasons.items():
        yield f"{contender}, left out of {', '.join(workloads)}: {error}"


def plot(rows: list[Row], path: str) -> None:
    """Bars of the ratios to the first contender, a group a workload, on a logarithmic scale."""
    from matplotlib.figure import Figure

    found = by_workload(rows)
    columns = list(dict.fromkeys(row["contender"] for row in rows))
    figure = Figure(figsize=(9, 1 + 0.16 * len(found) * len(columns)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(columns)
    for i, contender in enumerate(columns):
        values = [ratio(has, contender, columns[0]) or math.nan for has in found.values()]
        places = [line + i * height for line in range(len(found))]
        axes.barh(places, [value - 1 for value in values], height, left=1, label=contender)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([line + 0.4 - height / 2 for line in range(len(found))], list(found))
    axes.invert_yaxis()
    axes.set_xlabel(f"time of a step / {columns[0]}'s (right of the line: slower than {columns[0]})")
    figure.legend(loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=150)
