"""QueueRunner: threads that keep a queue filled, and close it when there is nothing more to put in."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ...compat import logging
from ...graph import context, errors
from ...graph.collections import GraphKeys
from ...graph.ir import Operation, get_default_graph
from ...graph.queues import QueueBase
from ...runtime.session import Session
from .coordinator import Coordinator


class QueueRunner:
    """Runs each of `enqueue_ops` again and again in a thread of its own, for a queue.

    When one raises an error of `queue_closed_exception_types` (by default OutOfRangeError: its input is at an end) its thread
    ends; the last one closes the queue with `close_op`, after which dequeues go on until it is empty. When the
    coordinator stops, `cancel_op` closes it at once. Source: `tf.train.QueueRunner`. Raises ValueError without a queue and
    operations, TypeError for types that are no errors, RuntimeError in eager execution.
    """

    def __init__(
        self, queue: QueueBase | None = None, enqueue_ops: Sequence[Any] | None = None, close_op: Any = None,
        cancel_op: Any = None, queue_closed_exception_types: tuple[type[errors.OpError], ...] | None = None,
        queue_runner_def: dict[str, Any] | None = None, import_scope: str | None = None,
    ) -> None:  # fmt: skip
        if context.executing_eagerly():
            raise RuntimeError("QueueRunners are not supported when eager execution is enabled.")
        if queue_runner_def is not None and (queue or enqueue_ops):
            raise ValueError("queue_runner_def and queue are mutually exclusive.")
        types = queue_closed_exception_types
        if types is not None and not _are_errors(types):
            raise TypeError(
                f"queue_closed_exception_types, when provided, must be a tuple of wf.errors types, but saw: {types}"
            )
        self._queue: Any
        if queue_runner_def is not None:
            self._from_def(queue_runner_def, import_scope)
        else:
            if not queue or not enqueue_ops:
                raise ValueError("Must provide queue and enqueue_ops.")
            self._queue = queue
            self._enqueue_ops: list[Operation] = list(enqueue_ops)
            self._close_op = queue.close() if close_op is None else close_op
            self._cancel_op = queue.close(cancel_pending_enqueues=True) if cancel_op is None else cancel_op
            self._closed_types = types or (errors.OutOfRangeError,)
        self._lock = threading.Lock()
        self._running: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._exceptions_raised: list[Exception] = []

    def _from_def(self, described: dict[str, Any], scope: str | None) -> None:
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(f"{scope}/{name}" if scope else name)

        self._queue = element(described["queue_name"])
        self._enqueue_ops = [element(name) for name in described["enqueue_op_name"]]
        self._close_op, self._cancel_op = element(described["close_op_name"]), element(described["cancel_op_name"])
        codes = described["queue_closed_exception_types"]
        self._closed_types = tuple(errors.exception_type_from_error_code(code) for code in codes) or (
            errors.OutOfRangeError,
        )

    @property
    def queue(self) -> Any:
        """The queue; the operation of its handle, where the runner was read from a description."""
        return self._queue

    @property
    def enqueue_ops(self) -> list[Operation]:
        return self._enqueue_ops

    @property
    def close_op(self) -> Any:
        return self._close_op

    @property
    def cancel_op(self) -> Any:
        return self._cancel_op

    @property
    def queue_closed_exception_types(self) -> tuple[type[errors.OpError], ...]:
        return self._closed_types

    @property
    def exceptions_raised(self) -> list[Exception]:
        """What the threads raised that had no coordinator to report to."""
        return self._exceptions_raised

    @property
    def name(self) -> str:
        """The queue's name."""
        return str(self._queue.name)

    def create_threads(
        self, sess: Any, coord: Coordinator | None = None, daemon: bool = False, start: bool = False
    ) -> list[threading.Thread]:
        """A thread for each enqueue operation in a session, and with a coordinator one more that closes the queue when it stops.

        None when those of an earlier call still run. With `start` they are started.
        """
        with self._lock:
            if self._running.get(sess, 0) > 0:
                return []
            self._running[sess] = len(self._enqueue_ops)
            self._exceptions_raised = []
        threads = [
            threading.Thread(
                target=self._run, args=(sess, each, coord), name=f"QueueRunnerThread-{self.name}-{each.name}"
            )
            for each in self._enqueue_ops
        ]
        if coord is not None:
            name = f"QueueRunnerThread-{self.name}-close_on_stop"
            threads.append(threading.Thread(target=self._close_on_stop, args=(sess, coord), name=name))
        for thread in threads:
            if coord is not None:
                coord.register_thread(thread)
            thread.daemon = daemon or thread.daemon
            if start:
                thread.start()
        return threads

    def _run(self, sess: Any, enqueue_op: Operation, coord: Coordinator | None) -> None:
        """One thread: enqueue until there is nothing more, or until all are to stop."""
        counted = True
        try:
            enqueue = sess.make_callable(enqueue_op)
            while coord is None or not coord.should_stop():
                try:
                    enqueue()
                except self._closed_types:
                    counted = False
                    if self._one_less(sess) == 0:
                        _run_quietly(sess, self._close_op)
                    return
        except Exception as error:
            if coord is not None:
                coord.request_stop(error)
            else:
                logging.error("Exception in QueueRunner: %s", error)
                with self._lock:
                    self._exceptions_raised.append(error)
        finally:
            if counted:
                self._one_less(sess)

    def _one_less(self, sess: Any) -> int:
        with self._lock:
            self._running[sess] -= 1
            return self._running[sess]

    def _close_on_stop(self, sess: Any, coord: Coordinator) -> None:
        coord.wait_for_stop()
        _run_quietly(sess, self._cancel_op)

    def to_proto(self, export_scope: str | None = None) -> dict[str, Any] | None:
        """What the constructor takes as `queue_runner_def` in a graph that holds the same operations.

        With `export_scope`, names without that scope; None for a queue outside of it.
        """
        reference = getattr(self._queue, "queue_ref", self._queue)
        name = getattr(reference, "op", reference).name
        if export_scope is not None and not name.startswith(f"{export_scope}/"):
            return None

        def stripped(name: str) -> str:
            return name.removeprefix(f"{export_scope}/") if export_scope else name

        return {
            "queue_name": stripped(name),
            "enqueue_op_name": [stripped(each.name) for each in self._enqueue_ops],
            "close_op_name": stripped(self._close_op.name),
            "cancel_op_name": stripped(self._cancel_op.name),
            "queue_closed_exception_types": [each.code for each in self._closed_types],
        }

    @staticmethod
    def from_proto(queue_runner_def: dict[str, Any], import_scope: str | None = None) -> QueueRunner:
        """The runner that `to_proto` described, in the default graph."""
        return QueueRunner(queue_runner_def=queue_runner_def, import_scope=import_scope)


def _are_errors(types: Any) -> bool:
    return isinstance(types, tuple) and bool(types) and all(issubclass(each, errors.OpError) for each in types)


def _run_quietly(sess: Any, operation: Any) -> None:
    """Close a queue that may be closed already, in a session that may be."""
    try:
        sess.run(operation)
    except Exception as error:
        logging.debug("Ignored exception: %s", error)


def add_queue_runner(qr: QueueRunner, collection: str = GraphKeys.QUEUE_RUNNERS) -> None:
    """Add a runner to a collection of the default graph, for `start_queue_runners`. Source: `tf.train.add_queue_runner`."""
    get_default_graph().add_to_collection(collection, qr)


def start_queue_runners(
    sess: Any = None, coord: Coordinator | None = None, daemon: bool = True, start: bool = True,
    collection: str = GraphKeys.QUEUE_RUNNERS,
) -> list[threading.Thread]:  # fmt: skip
    """Start the threads of all runners in a collection, in a session (by default the default one); returns the threads.

    Source: `tf.train.start_queue_runners`. Raises ValueError without a session, TypeError for what is none, RuntimeError in
    eager execution. A monitored session has started them itself: for one nothing is done.
    """
    if context.executing_eagerly():
        raise RuntimeError("Queues are not compatible with eager execution.")
    sess = context.get_default_session() if sess is None else sess
    if sess is None:
        raise ValueError(
            "Cannot start queue runners: No default session is registered. Use `with sess.as_default()` or pass an explicit "
            "session to wf.train.start_queue_runners(sess=sess)"
        )
    if getattr(sess, "starts_queue_runners", False):
        return []
    if not isinstance(sess, Session):
        raise TypeError(f"sess must be a `wf.Session` object. Given class: {type(sess)}")
    runners = sess.graph.get_collection(collection)
    if not runners:
        logging.warning("`start_queue_runners()` was called when no queue runners were defined.")
    return [thread for runner in runners for thread in runner.create_threads(sess, coord, daemon, start)]
