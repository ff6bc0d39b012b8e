"""MonitoredTrainingSession: a MonitoredSession with what a training wants: checkpoints, summaries, speed in the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..events.writing import writer_of
from ..hooks.reporting import StepCounterHook, SummarySaverHook
from ..hooks.saving import CheckpointSaverHook
from ..hooks.session_run_hook import SessionRunHook
from .creators import ChiefSessionCreator, WorkerSessionCreator
from .monitored_session import MonitoredSession, checked_hooks
from .recovery import RecoveryPolicy
from .scaffold import Scaffold

#: What stands for "not given" where None means "not at all".
USE_DEFAULT: Any = object()


def MonitoredTrainingSession(
    master: str = "", is_chief: bool = True, checkpoint_dir: str | None = None, scaffold: Scaffold | None = None,
    hooks: Iterable[SessionRunHook] | None = None, chief_only_hooks: Iterable[SessionRunHook] | None = None,
    save_checkpoint_secs: Any = USE_DEFAULT, save_summaries_steps: Any = USE_DEFAULT, save_summaries_secs: Any = USE_DEFAULT,
    config: Any = None, stop_grace_period_secs: float = 120, log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200, save_checkpoint_steps: Any = USE_DEFAULT, summary_dir: str | None = None,
    save_graph_def: bool = True, recovery: RecoveryPolicy | None = None,
) -> MonitoredSession:  # fmt: skip
    """A MonitoredSession on `master`: of a chief, which restores or initializes, saves and reports, or of a worker, which
    waits for the chief up to `max_wait_secs`.

    With a `checkpoint_dir` a chief restores the newest checkpoint from there and saves one every `save_checkpoint_secs`
    (600) or `save_checkpoint_steps`; with that or a `summary_dir` it writes summaries every `save_summaries_steps` (100) or
    `save_summaries_secs`, and global steps a second every `log_step_count_steps`. None or 0 turns each off. Summaries need
    tensorboardX; without it a warning says that they are missing. `hooks` are for both, `chief_only_hooks` for a chief.
    `recovery` says how often a lost session is made anew. The other arguments are as of MonitoredSession and Saver.

    Source: `tf.train.MonitoredTrainingSession`. Raises ValueError for seconds and steps of one thing at once.
    """
    scaffold = scaffold or Scaffold()
    if not is_chief:
        worker = WorkerSessionCreator(scaffold, master, config, max_wait_secs)
        return MonitoredSession(worker, hooks, stop_grace_period_secs, recovery)
    summaries = _interval(save_summaries_steps, save_summaries_secs, 100, None)
    checkpoints = _interval(save_checkpoint_steps, save_checkpoint_secs, None, 600)
    own = checked_hooks(chief_only_hooks or ())
    summary_dir = summary_dir or checkpoint_dir
    if summary_dir and log_step_count_steps and log_step_count_steps > 0:
        own.append(StepCounterHook(every_n_steps=log_step_count_steps, output_dir=summary_dir))
    if summary_dir and summaries is not None and (writer := writer_of(summary_dir)) is not None:
        steps, seconds = summaries
        own.append(SummarySaverHook(steps, seconds, summary_writer=writer, scaffold=scaffold))
    if checkpoint_dir and checkpoints is not None:
        steps, seconds = checkpoints
        own.append(
            CheckpointSaverHook(checkpoint_dir, seconds, steps, scaffold=scaffold, save_graph_def=save_graph_def)
        )
    creator = ChiefSessionCreator(scaffold, master, config, checkpoint_dir)
    return MonitoredSession(creator, [*own, *checked_hooks(hooks or ())], stop_grace_period_secs, recovery)


def _interval(steps: Any, seconds: Any, default_steps: int | None, default_seconds: int | None) -> Any:
    """How often, in steps and in seconds, one of them None; or None for never."""
    if steps is USE_DEFAULT and seconds is USE_DEFAULT:
        steps, seconds = default_steps, default_seconds
    steps, seconds = (None if given is USE_DEFAULT else given for given in (steps, seconds))
    wanted = (steps and steps > 0) or (seconds and seconds > 0)
    return (steps, seconds) if wanted else None
