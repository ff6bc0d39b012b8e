"""Hooks that report: tensors and speed in the log, summaries and traces in files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.ir import get_default_graph
from ...graph.storage.files import write_whole
from ...graph.storage.places import join, shown
from ...runtime.config import RunOptions
from ...runtime.reporting.timeline import Timeline
from ..events.protos import event_protos
from ..events.writing import FileWriterCache, writer_of
from ..global_step import get_global_step, needed_global_step_read
from .session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from .timer import NeverTriggerTimer, SecondOrStepTimer

_log = logging.getLogger("weft")

#: How often StepCounterHook says that the global step does not grow.
_TOLD = 5


class LoggingTensorHook(SessionRunHook):
    """Logs the values of tensors (INFO) every `every_n_iter` runs or `every_n_secs` seconds, and with `at_end` at the end.

    `tensors`: a dict of tensors by tag, or a list; tensors or their names. `formatter` makes the line from a dict of values
    by tag. Source: `tf.train.LoggingTensorHook`. Raises ValueError unless one of `every_n_iter` and `every_n_secs`, or only
    `at_end`, is given, and for a number that is not positive.
    """

    def __init__(
        self, tensors: Any, every_n_iter: int | None = None, every_n_secs: float | None = None, at_end: bool = False,
        formatter: Callable[[Any], str] | None = None,
    ) -> None:  # fmt: skip
        only_at_end = at_end and every_n_iter is None and every_n_secs is None
        if not only_at_end and (every_n_iter is None) == (every_n_secs is None):
            raise ValueError("either at_end and/or exactly one of every_n_iter and every_n_secs must be provided.")
        if every_n_iter is not None and every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        if isinstance(tensors, dict):
            self._tags: list[Any] = sorted(tensors)
            self._tensors = dict(tensors)
        else:
            self._tags = list(tensors)
            self._tensors = {item: item for item in self._tags}
        self._formatter = formatter
        self._timer = NeverTriggerTimer() if only_at_end else SecondOrStepTimer(every_n_secs, every_n_iter)
        self._log_at_end = at_end

    def begin(self) -> None:
        self._timer.reset()
        self._iterations = 0
        self._fetches = {tag: _as_graph_element(tensor) for tag, tensor in self._tensors.items()}

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        self._due = self._timer.should_trigger_for_step(self._iterations)
        return SessionRunArgs(self._fetches) if self._due else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if self._due:
            self._report(run_values.results)
        self._iterations += 1

    def end(self, session: Any) -> None:
        if self._log_at_end:
            self._report(session.run(self._fetches))

    def _report(self, values: Any) -> None:
        seconds, _ = self._timer.update_last_triggered_step(self._iterations)
        with np.printoptions(suppress=True):
            if self._formatter is not None:
                _log.info(self._formatter(values))
                return
            line = ", ".join(f"{tag} = {values[tag]}" for tag in self._tags)
        _log.info("%s", line if seconds is None else f"{line} ({seconds:.3f} sec)")


def _as_graph_element(item: Any) -> Any:
    """A tensor of the default graph, or the one output of the operation of that name. Raises ValueError."""
    graph = get_default_graph()
    if not isinstance(item, str):
        if getattr(item, "graph", None) is not graph:
            raise ValueError(f"Passed {item} should have graph attribute that is equal to current graph {graph}.")
        return item
    if ":" in item:
        return graph.as_graph_element(item)
    operation = graph.get_operation_by_name(item)
    if len(operation.outputs) > 1:
        raise ValueError(f"Name {item} is ambiguous, as this `Operation` has multiple outputs (at least 2).")
    return graph.as_graph_element(f"{item}:0")


class StepCounterHook(SessionRunHook):
    """Logs how many global steps a second it goes, every `every_n_steps` steps or `every_n_secs` seconds.

    Also as a summary `global_step/sec`, through `summary_writer` or, with `output_dir`, the folder's writer.
    Source: `tf.train.StepCounterHook`. Raises ValueError unless exactly one of the two is given.
    """

    def __init__(
        self, every_n_steps: int | None = 100, every_n_secs: float | None = None, output_dir: str | None = None,
        summary_writer: Any = None,
    ) -> None:  # fmt: skip
        if (every_n_steps is None) == (every_n_secs is None):
            raise ValueError("exactly one of every_n_steps and every_n_secs should be provided.")
        self._timer = SecondOrStepTimer(every_n_secs, every_n_steps)
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._last_global_step: Any = None
        self._told = 0

    def begin(self) -> None:
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = writer_of(self._output_dir)
        self._global_step = needed_global_step_read(self)
        self._summary_tag = f"{get_global_step().op.name}/sec"

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        stale = run_values.results
        if self._timer.should_trigger_for_step(stale + 1):
            step = int(run_context.session.run(self._global_step))
            if self._timer.should_trigger_for_step(step):
                seconds, steps = self._timer.update_last_triggered_step(step)
                if seconds is not None and steps is not None:
                    self._log_and_record(steps, seconds, step)
        if stale == self._last_global_step and self._told < _TOLD:
            self._told += 1
            _log.warning(
                "The global step has not grown since the run before: it is %s. If no other worker is to make the updates, "
                "give train.get_global_step() to Optimizer.minimize or apply_gradients.", stale,
            )  # fmt: skip
        self._last_global_step = stale

    def end(self, session: Any) -> None:
        if self._summary_writer is not None:
            self._summary_writer.flush()

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        """What is done with a measurement; subclasses may do something else."""
        rate = elapsed_steps / elapsed_time if elapsed_time else float("inf")
        if self._summary_writer is not None:
            summary = event_protos().Summary
            value = summary.Value(tag=self._summary_tag, simple_value=rate)
            self._summary_writer.add_summary(summary(value=[value]), global_step)
        _log.info("%s: %g", self._summary_tag, rate)


class SummarySaverHook(SessionRunHook):
    """Writes summaries every `save_steps` steps or `save_secs` seconds, and at the first run.

    `summary_op`: a summary or a list of them, or that of a `scaffold`. They go to `summary_writer` or, with `output_dir`, to
    the folder's writer. Source: `tf.train.SummarySaverHook`. Raises ValueError unless exactly one of `scaffold` and
    `summary_op`, and one of `save_steps` and `save_secs`, is given.
    """

    def __init__(
        self, save_steps: int | None = None, save_secs: float | None = None, output_dir: str | None = None,
        summary_writer: Any = None, scaffold: Any = None, summary_op: Any = None,
    ) -> None:  # fmt: skip
        if (scaffold is None) == (summary_op is None):
            raise ValueError("Exactly one of scaffold or summary_op must be provided.")
        self._summary_op = summary_op
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(save_secs, save_steps)

    def begin(self) -> None:
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = FileWriterCache.get(self._output_dir)
        self._next_step: int | None = None
        self._global_step = needed_global_step_read(self)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        self._due = self._next_step is None or self._timer.should_trigger_for_step(self._next_step)
        summaries = self._summaries() if self._due else []
        return SessionRunArgs({"global_step": self._global_step, "summary": summaries})

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if self._summary_writer is None:
            return
        step = int(run_values.results["global_step"]) + 1
        if self._due:
            step = int(run_context.session.run(self._global_step))
        if self._next_step is None:
            log = event_protos().SessionLog
            self._summary_writer.add_session_log(log(status=log.START), step)
        if self._due:
            self._timer.update_last_triggered_step(step)
            for summary in run_values.results["summary"]:
                self._summary_writer.add_summary(summary, step)
        self._next_step = step + 1

    def end(self, session: Any = None) -> None:
        if self._summary_writer is not None:
            self._summary_writer.flush()

    def _summaries(self) -> list[Any]:
        found = self._summary_op if self._summary_op is not None else self._scaffold.summary_op
        return [] if found is None else list(found) if isinstance(found, (list, tuple)) else [found]


class ProfilerHook(SessionRunHook):
    """Traces a run every `save_steps` steps or `save_secs` seconds and writes `timeline-<step>.json`, a Chrome trace.

    The files go to `output_dir`; so does an event with the trace for TensorBoard. Source: `tf.train.ProfilerHook`. Raises
    ValueError unless exactly one of the two is given; a run raises UnimplementedError for `show_memory`.
    """

    def __init__(
        self, save_steps: int | None = None, save_secs: float | None = None, output_dir: str = "",
        show_dataflow: bool = True, show_memory: bool = False,
    ) -> None:  # fmt: skip
        self._output_dir = output_dir
        self._timer = SecondOrStepTimer(save_secs, save_steps)
        self._writer = writer_of(output_dir or os.curdir)
        self._traced: set[int] = set()
        self._show_dataflow = show_dataflow
        self._show_memory = show_memory

    def begin(self) -> None:
        self._next_step: int | None = None
        self._global_step = needed_global_step_read(self)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        self._due = self._next_step is not None and self._timer.should_trigger_for_step(self._next_step)
        options = RunOptions(trace_level=RunOptions.FULL_TRACE) if self._due else None
        return SessionRunArgs(self._global_step, options=options)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        stale = int(run_values.results)
        if self._next_step is None:
            self._timer.update_last_triggered_step(stale)  # the first trace comes after one interval
        step = stale + 1
        if self._due:
            step = int(run_context.session.run(self._global_step))
            self._timer.update_last_triggered_step(step)
            self._save(step, run_values.run_metadata)
        self._next_step = step + 1

    def _save(self, step: int, metadata: Any) -> None:
        path = join(self._output_dir, f"timeline-{step}.json")
        _log.info("Saving timeline for %d into '%s'.", step, shown(path))
        trace = Timeline(metadata.step_stats).generate_chrome_trace_format(self._show_dataflow, self._show_memory)
        write_whole(path, trace.encode())
        if self._writer is not None and step not in self._traced:  # after a recovery steps come again
            self._traced.add(step)
            self._writer.add_run_metadata(metadata, f"step_{step}", step)
