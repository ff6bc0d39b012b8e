"""Supervisor: the older way to train: a session that initializes or restores itself, and threads that save and report."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from ...graph import context
from ...graph.collections import GraphKeys
from ...graph.dtypes import int32, int64
from ...graph.ir import Graph, get_default_graph
from ...graph.storage.files import make_folder
from ...graph.storage.places import join
from ...graph.variable_functions import global_variables, global_variables_initializer, report_uninitialized_variables
from ...runtime.session import Session
from ..events.graph_events import write_graph_events
from ..events.protos import can_write_events, event_protos
from ..events.writing import writer_of
from ..global_step import global_step as global_step_of
from ..queues.coordinator import Coordinator, LooperThread
from ..saver import Saver
from ..summaries import merge_all
from .manager import SessionManager
from .scaffold import Scaffold
from .supervisor_threads import CheckpointThread, StepCounterThread, SummaryThread

_log = logging.getLogger("weft")

#: What stands for "not given" where None means "not at all".
_DEFAULT: Any = 0


class Supervisor:
    """Initializes or restores a model, saves it and its summaries on a timer, and stops its threads together.

    It is made when the graph is complete, and finalizes it; then `managed_session` gives the session. A chief restores the
    newest checkpoint of `logdir`, or runs `init_op` and `init_fn(session)`; others wait for it, looking at least every
    `recovery_wait_secs`. With a `logdir` a chief writes summaries and steps a second every `save_summaries_secs`, and
    checkpoints (`checkpoint_basename`) every `save_model_secs`; 0 turns either off. What is left at its default is taken
    from the graph's collections or made: operations, `saver`, `global_step` (the tensor of that name). None: without it.

    Source: `tf.train.Supervisor`. Raises RuntimeError in eager execution; ValueError for a supervisor that is no chief when
    a variable has no device.
    """

    USE_DEFAULT = _DEFAULT

    def __init__(
        self, graph: Graph | None = None, ready_op: Any = _DEFAULT, ready_for_local_init_op: Any = _DEFAULT,
        is_chief: bool = True, init_op: Any = _DEFAULT, init_feed_dict: Any = None, local_init_op: Any = _DEFAULT,
        logdir: str | None = None, summary_op: Any = _DEFAULT, saver: Any = _DEFAULT, global_step: Any = _DEFAULT,
        save_summaries_secs: float = 120, save_model_secs: float = 600, recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120, checkpoint_basename: str = "model.ckpt", session_manager: Any = None,
        summary_writer: Any = _DEFAULT, init_fn: Callable[[Any], Any] | None = None, local_init_run_options: Any = None,
    ) -> None:  # fmt: skip
        if context.executing_eagerly():
            raise RuntimeError("Supervisors are incompatible with eager execution.")
        self._graph = get_default_graph() if graph is None else graph
        with self._graph.as_default():
            key = GraphKeys
            self._ready_op = _picked(ready_op, key.READY_OP, report_uninitialized_variables)
            self._ready_for_local_init_op = _picked(ready_for_local_init_op, key.READY_FOR_LOCAL_INIT_OP, _nothing)
            self._init_op = _picked(init_op, key.INIT_OP, global_variables_initializer)
            self._local_init_op = _picked(local_init_op, key.LOCAL_INIT_OP, Scaffold.default_local_init_op)
            self._saver = _picked(saver, key.SAVERS, lambda: Saver() if global_variables() else None)
            self._summary_op = _picked(summary_op, key.SUMMARY_OP, merge_all)
            self._global_step = _picked(global_step, key.GLOBAL_STEP, _global_step_tensor)
        self._init_feed_dict = init_feed_dict
        self._init_fn = init_fn
        self._is_chief = is_chief
        self._coord = Coordinator()
        self._stop_grace_secs = stop_grace_secs
        self._logdir = logdir if is_chief else None
        self._save_summaries_secs = save_summaries_secs if is_chief else None
        self._save_model_secs = save_model_secs if is_chief else None
        self._save_path = join(self._logdir, checkpoint_basename) if self._logdir else None
        self._summary_writer = self._writer(summary_writer)
        self._graph_was_added = self._writer_ended = False
        self._session_manager = session_manager or SessionManager(
            local_init_op=self._local_init_op, ready_op=self._ready_op,
            ready_for_local_init_op=self._ready_for_local_init_op, graph=self._graph,
            recovery_wait_secs=recovery_wait_secs, local_init_run_options=local_init_run_options,
        )  # fmt: skip
        self._check_devices()
        self._graph.finalize()

    def _writer(self, given: Any) -> Any:
        if not self._is_chief:
            return None
        if given is not _DEFAULT:
            return given
        return writer_of(self._logdir) if self._logdir else None

    def _check_devices(self) -> None:
        """That a chief and others agree where variables are. Raises ValueError."""
        for operation in self._graph.get_operations() if not self._is_chief else ():
            if operation.type == "VarHandleOp" and not operation.device:
                raise ValueError(f"When using replicas, all Variables must have their device set: {operation.name}")

    # what it was made with

    @property
    def is_chief(self) -> bool:
        """Whether it initializes and saves."""
        return self._is_chief

    @property
    def session_manager(self) -> Any:
        """What makes the sessions."""
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        """What stops the threads."""
        return self._coord

    @property
    def init_op(self) -> Any:
        """What initializes the variables, or None."""
        return self._init_op

    @property
    def init_feed_dict(self) -> Any:
        """What to feed it."""
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        """The names of the variables that are not initialized, or None."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The names of the variables that the local initialization needs, or None."""
        return self._ready_for_local_init_op

    @property
    def summary_writer(self) -> Any:
        """The FileWriter of a chief, or None."""
        return self._summary_writer

    @property
    def summary_op(self) -> Any:
        """All summaries in one, or None."""
        return self._summary_op

    @property
    def save_summaries_secs(self) -> float | None:
        """The seconds between two summaries."""
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        """The tensor that counts steps, or None."""
        return self._global_step

    @property
    def saver(self) -> Any:
        """What saves and restores, or None."""
        return self._saver

    @property
    def save_model_secs(self) -> float | None:
        """The seconds between two checkpoints."""
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        """The prefix of the checkpoints, without the step; None without a logdir."""
        return self._save_path

    # sessions

    def prepare_or_wait_for_session(
        self, master: str = "", config: Any = None, wait_for_checkpoint: bool = False, max_wait_secs: float = 7200,
        start_standard_services: bool = True,
    ) -> Session:  # fmt: skip
        """A session on `master` that is ready to train, with the services and the queue runners started.

        Raises as `SessionManager.prepare_session`, and DeadlineExceededError when no chief has made it ready in time.
        """
        self._coord.clear_stop()
        if self._summary_writer is not None:
            self._summary_writer.reopen()
            self._writer_ended = False
        session: Session
        if self._is_chief:
            session = self._session_manager.prepare_session(
                master, init_op=self._init_op, saver=self._saver, checkpoint_dir=self._logdir,
                wait_for_checkpoint=wait_for_checkpoint, max_wait_secs=max_wait_secs, config=config,
                init_feed_dict=self._init_feed_dict, init_fn=self._init_fn,
            )  # fmt: skip
            self._write_graph()
            if start_standard_services:
                self.start_standard_services(session)
        else:
            session = self._session_manager.wait_for_session(master, config=config, max_wait_secs=max_wait_secs)
        if start_standard_services:
            self.start_queue_runners(session)
        return session

    def _write_graph(self) -> None:
        if self._logdir:
            make_folder(self._logdir)
        folder = self._logdir if can_write_events() else None
        writer = None if self._graph_was_added else self._summary_writer
        write_graph_events(self._graph, self._saver, folder, writer)
        self._graph_was_added = True

    def start_standard_services(self, sess: Any) -> list[threading.Thread] | None:
        """Start the threads that write summaries, speed and checkpoints; returns them, None without a logdir.

        Raises RuntimeError when it is no chief.
        """
        if not self._is_chief:
            raise RuntimeError(
                "Only chief supervisor can start standard services. Because only chief supervisors can write events."
            )
        if not self._logdir:
            _log.warning("Standard services need a 'logdir' passed to the Supervisor")
            return None
        threads: list[threading.Thread] = []
        if self._summary_writer is not None and self._global_step is not None:
            log = event_protos().SessionLog
            self._summary_writer.add_session_log(log(status=log.START), global_step_of(sess, self._global_step))
        if self._summary_writer is not None and self._save_summaries_secs:
            if self._summary_op is not None:
                threads.append(SummaryThread(self, sess))
            if self._global_step is not None:
                threads.append(StepCounterThread(self, sess))
        if self._saver is not None and self._save_model_secs:
            threads.append(CheckpointThread(self, sess))
        for thread in threads:
            thread.start()
        return threads

    def start_queue_runners(self, sess: Any, queue_runners: Iterable[Any] | None = None) -> list[threading.Thread]:
        """Start the threads of queue runners, by default those of the graph; returns them."""
        if context.executing_eagerly():
            raise RuntimeError("Queues are not compatible with eager execution.")
        if queue_runners is None:
            queue_runners = self._graph.get_collection(GraphKeys.QUEUE_RUNNERS)
        threads: list[threading.Thread] = []
        for runner in queue_runners:
            threads.extend(runner.create_threads(sess, coord=self._coord, daemon=True, start=True))
        return threads

    @contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
    ) -> Iterator[Session]:
        """A session for a `with` block, at whose end the threads are stopped and the session closed.

        What is raised in the block or by a thread is raised at its end; OutOfRangeError is an end as it should be.
        """
        session: Session | None = None
        try:
            session = self.prepare_or_wait_for_session(
                master, config=config, start_standard_services=start_standard_services
            )
            yield session
        except Exception as error:
            self.request_stop(error)
        finally:
            try:
                self.stop(close_summary_writer=close_summary_writer)
            finally:
                if session is not None:
                    with suppress(Exception):  # what matters, stop has raised
                        session.close()

    # stopping

    def loop(
        self, timer_interval_secs: float | None, target: Callable[..., Any], args: Any = None, kwargs: Any = None
    ) -> LooperThread:
        """Call `target` every so many seconds in a thread, until it stops; None: again and again. Returns the thread."""
        return LooperThread.loop(self._coord, timer_interval_secs, target, args, kwargs)

    def stop(
        self, threads: Iterable[threading.Thread] | None = None, close_summary_writer: bool = True,
        ignore_live_threads: bool = False,
    ) -> None:  # fmt: skip
        """Stop the threads, its own and these, and close the writer. The session stays open.

        Raises what a thread gave as the reason to stop; RuntimeError, unless `ignore_live_threads`, for those that still
        run after `stop_grace_secs`.
        """
        self._coord.request_stop()
        try:
            self._coord.join(threads, self._stop_grace_secs, ignore_live_threads)
        finally:
            if close_summary_writer and self._summary_writer is not None and not self._writer_ended:
                log = event_protos().SessionLog
                self._summary_writer.add_session_log(log(status=log.STOP))
                self._summary_writer.close()
                self._graph_was_added, self._writer_ended = False, True

    def request_stop(self, ex: Any = None) -> None:
        """As `Coordinator.request_stop`."""
        self._coord.request_stop(ex)

    def should_stop(self) -> bool:
        """As `Coordinator.should_stop`."""
        return self._coord.should_stop()

    def stop_on_exception(self) -> AbstractContextManager[None]:
        """As `Coordinator.stop_on_exception`."""
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        """Wait until a stop is requested."""
        self._coord.wait_for_stop()

    def summary_computed(self, sess: Any, summary: Any, global_step: Any = None) -> None:
        """Write a summary, by default for the step that the session is at. Raises RuntimeError without a writer."""
        if self._summary_writer is None:
            raise RuntimeError("Writing a summary requires a summary writer.")
        if global_step is None and self._global_step is not None:
            global_step = global_step_of(sess, self._global_step)
        self._summary_writer.add_summary(summary, global_step)

    PrepareSession = prepare_or_wait_for_session
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    RequestStop = request_stop
    Loop = loop
    ShouldStop = should_stop
    StopOnException = stop_on_exception
    WaitForStop = wait_for_stop
    SummaryComputed = summary_computed


def basic_train_loop(
    supervisor: Supervisor, train_step_fn: Callable[..., Any], args: Any = None, kwargs: Any = None, master: str = ""
) -> None:
    """Call `train_step_fn(session, *args, **kwargs)` in a managed session until the supervisor should stop.

    Source: `tf.train.basic_train_loop`.
    """
    with supervisor.managed_session(master) as session:
        while not supervisor.should_stop():
            train_step_fn(session, *(args or ()), **(kwargs or {}))


def _picked(given: Any, key: str, make: Callable[[], Any]) -> Any:
    """What is given, else the first item of a collection of the default graph, else what is made and put there."""
    if given is not _DEFAULT:
        return given
    graph = get_default_graph()
    found = graph.get_collection(key)
    if len(found) > 1:
        _log.info("Found %d %s operations. Returning the first one.", len(found), key)
    made = found[0] if found else make()
    if not found and made is not None:
        graph.add_to_collection(key, made)
    return made


def _nothing() -> None:
    return None


def _global_step_tensor() -> Any:
    """The variable, or the tensor, that is called global_step, when it counts."""
    for variable in global_variables():
        if variable.name == "global_step:0":
            return variable if variable.dtype in (int32, int64) else None
    return None
