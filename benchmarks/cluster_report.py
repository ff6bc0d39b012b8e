"""What cluster.py has measured, as tables for people and as a plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cluster_training import TOLERANCE
from local_report import table, time_of

NAMES = {"weft": "weft", "llvm": "weft llvm", "tf": "TF", "ray": "Ray actors", "flight": "Flight"}
#: What weft may take of TensorFlow's time.
TARGETS = {"null step": 1 / 3, "hop 4 KB": 1 / 10, "hop 16 MB": 1 / 5, "training step 1 MB": 1 / 8}
#: What a transfer should reach: on one node of the speed at which memory is copied, between two of a bare socket's.
OF_COPY, OF_SOCKET = 0.7, 0.8


def report(rows: list[dict[str, Any]], libraries: Sequence[str], hosts: bool = False) -> str:
    """Times, weft's ratio to each peer, and what is wanted; then whose losses differ from weft's, if anybody's do."""
    peers = [each for each in libraries if each != "weft"]
    bare, least = ("a socket's", OF_SOCKET) if hosts else ("a copy's", OF_COPY)
    lines = []
    for row in rows:
        line = [time_of(row[each]["median"]) if each in row else "-" for each in libraries]
        line += [f"1/{row[each]['median'] / row['weft']['median']:.1f}" if each in row else "-" for each in peers]
        line += [
            f"{row['bare'] / row['weft']['median']:.2f}" if row["bare"] else "",
            f"{least} of {bare}" if row["bare"] else _wanted(row),
        ]
        lines.append([row["workload"], *line])
    ratios = [f"weft / {NAMES[each]}" for each in peers]
    shown = table("", [*(NAMES[each] for each in libraries), *ratios, f"of {bare} speed", "wanted"], lines)
    return "\n".join([shown, *_differing(rows, libraries)])


def _differing(rows: list[dict[str, Any]], libraries: Sequence[str]) -> Iterator[str]:
    for row in rows:
        for each in libraries:
            far = row.get(each, {}).get("difference", 0.0)
            if far > TOLERANCE:
                yield f"{row['workload']}, {NAMES[each]}: LOSSES DIFFER by {far:.1e}"


def _wanted(row: dict[str, Any]) -> str:
    target = TARGETS.get(row["workload"])
    return f"1/{1 / target:.0f} of TF" if target else ""


def line_of(counts: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """The line through these points by least squares: what it is at 0, and how much it rises with each."""
    mean, middle = sum(counts) / len(counts), sum(times) / len(times)
    pairs = list(zip(counts, times, strict=True))
    rise = sum((x - mean) * (y - middle) for x, y in pairs) / sum((x - mean) ** 2 for x in counts)
    return middle - rise * mean, rise


def workers_report(lines: list[dict[str, Any]]) -> str:
    """A null step by the number of workers, and the line through it."""
    counts = list(lines[0]["times"])
    rows = [
        [
            NAMES[each["library"]],
            *(time_of(time) for time in each["times"].values()),
            _line(each["base"], each["worker"]),
        ]
        for each in lines
    ]
    return table("workers", [*map(str, counts), "line"], rows)


def _line(base: float, worker: float) -> str:
    return f"{base * 1e6:.0f} µs + {worker * 1e6:.0f} µs a worker"


def plot(rows: list[dict[str, Any]], libraries: Sequence[str], path: str) -> None:
    """How much longer each peer takes than weft."""
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter

    peers = [each for each in libraries if each != "weft"]
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(rows) + 2))
    height = 0.8 / max(1, len(peers))
    for index, peer in enumerate(peers):
        ratios = [row[peer]["median"] / row["weft"]["median"] if peer in row else 1.0 for row in rows]
        axes.barh([place + index * height for place in range(len(rows))], ratios, height, label=NAMES[peer])
    middle = (len(peers) - 1) * height / 2
    axes.set_yticks([place + middle for place in range(len(rows))], [row["workload"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times as long as weft")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
