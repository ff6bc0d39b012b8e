"""run_many: a session's runs of the same fetches for many feeds, several of them in flight."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from ..graph.ir import Graph
from ..graph.shapes import Dims
from .calls import Call, Prepared, fetches_key
from .config import RunOptions
from .engine import Engine, Stream, Streaming
from .execution.failures import StepFailure, public_error
from .pipeline import Request
from .placing.whole_graph import WholeGraph
from .stages.plan import StepPlan

_Feeds = Mapping[Any, Any] | None


class _Session(Protocol):
    """What this needs of a session."""

    _graph: Graph
    _engine: Engine
    _whole: WholeGraph | None
    _calls: dict[Any, Call]

    def _check_open(self) -> None: ...
    def _new_call(self, key: Any, fetches: Any, feed_dict: _Feeds) -> tuple[Call, list[Any]]: ...
    def _prepare(self, request: Request) -> Prepared: ...
    def _timeout_of(self, options: RunOptions | None) -> float | None: ...
    def _load(self, prepared: Prepared, dims: tuple[Dims, ...], options: RunOptions | None) -> tuple[StepPlan, Any]: ...
    def run(self, fetches: Any, feed_dict: _Feeds = None, options: RunOptions | None = None) -> Any: ...


class ManyRuns:
    """The part of a session that has several steps in flight."""

    def run_many(
        self: _Session,
        fetches: Any,
        feed_dicts: Iterable[_Feeds],
        limit: int = 2,
        options: RunOptions | None = None,
    ) -> Iterator[Any]:
        """Yield what `run(fetches, feed_dict)` returns for each of `feed_dicts`, in order, with up to `limit` runs in flight.

        The same bits as `[session.run(fetches, f) for f in feed_dicts]`, for any `limit`: each device runs its parts of the
        runs in order, each when the one before is done there, so variables and queues are read and written as in that
        list. What overlaps is different devices: one works on the next run while another still works on this one. That
        is worth it on a cluster, and for a model cut over devices with `wf.device`; with one device in this process, runs
        follow each other. A device's part of a training step ends with its last gradient: such runs hardly overlap.
        The order among different devices of what neither values nor control dependencies order
        (lines that Print writes, queues that only the program relates) is not promised across runs.

        `fetches` and each feed_dict (or None): as in `run`. Feeds are copied. `feed_dicts` is read in the caller's thread as
        values are asked for: at most `limit` feeds ahead of what was yielded, so feeds that depend on results need
        `limit=1`. `limit` also bounds memory: each run in flight has its own buffers and values on their way between
        devices. `options`: only its `timeout_in_ms` (else the session's), which for each run counts from when its result is
        waited for, the runs before it being over.

        Errors come where `run` would raise them: after the results of the runs before. The runs in flight behind a failed one
        are given up first; they may have changed variables by then on devices that had already done their part of the
        failed one, but begin on no device where that, or a run before them, has failed. An error in reading `feed_dicts`
        comes as late. Leaving a loop over this early (`break`, or `close()` of the iterator) waits for the runs in flight,
        which go on to their end and whose results and errors are dropped. `Session.close` ends them all. Runs that other
        code makes meanwhile, also in the loop's body, are not part of the order.

        Raises RuntimeError when closed, TypeError for a `limit` that is no integer and options that are none, ValueError for
        a `limit` below 1 and options that ask for a trace; while it is read, what `run` raises.
        """
        self._check_open()
        limit = operator.index(limit)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, the run that is waited for, but got {limit}")
        self._timeout_of(options)
        if options is not None and (options.trace_level or options.output_partition_graphs):
            raise ValueError("run_many takes no options that ask for a trace or for graphs: use run")
        feeds = iter(feed_dicts)
        engine = self._engine
        if limit > 1 and isinstance(engine, Streaming) and not (engine.local and len(engine.devices) == 1):
            return _ahead(_Row(self, fetches, options, engine.stream()), feeds, limit)
        return (self.run(fetches, feed_dict, options) for feed_dict in feeds)


class _Run:
    """A run of a row: begun, or over before it began, with an error or because there was nothing to compute."""

    __slots__ = ("call", "error", "feeds", "step")

    def __init__(self) -> None:
        self.call: Call | None = None
        self.feeds: list[Any] = []
        self.step: Any = None
        self.error: BaseException | None = None


class _Row:
    """The runs of one `run_many` in flight."""

    def __init__(self, session: _Session, fetches: Any, options: RunOptions | None, stream: Stream) -> None:
        self._session = session
        self._fetches = fetches
        self._options = options
        self._stream = stream
        self._flying: deque[_Run] = deque()
        self.over = False  #: whether no more runs are to begin

    def __len__(self) -> int:
        return len(self._flying)

    def begin(self, source: Iterator[_Feeds]) -> None:
        """Begin the next run, if there is one. What it raises is kept until its turn comes."""
        if self._stream.broken:
            self.over = True
            return
        run = _Run()
        try:
            self._begin(run, next(source))
        except StopIteration:
            self.over = True
            return
        except Exception as error:
            run.error, self.over = error, True
        self._flying.append(run)

    def _begin(self, run: _Run, feed_dict: _Feeds) -> None:
        session = self._session
        session._check_open()
        key = fetches_key(self._fetches), tuple(feed_dict) if feed_dict else ()
        call = session._calls.get(key)
        if call is None:
            call, feeds = session._new_call(key, self._fetches, feed_dict)
        else:
            values = feed_dict.values() if feed_dict else ()
            feeds = [feed(value) for feed, value in zip(call.feeders, values, strict=True)]
        run.call, run.feeds = call, [_own(feed) for feed in feeds]
        if call.runs:
            handle = self._handle(call, run.feeds)
            run.step = self._stream.begin(handle, run.feeds, session._timeout_of(self._options))

    def _handle(self, call: Call, feeds: Sequence[Any]) -> Any:
        """The loaded plan of a call for these feeds."""
        session = self._session
        if call.prepared is None:
            call.prepared = session._prepare(call.request)
        if session._whole is not None and session._whole.seen != session._graph.version:
            session._whole.look()
        dims = tuple([feed.shape for feed in feeds])
        return (call.prepared.loaded.get(dims) or session._load(call.prepared, dims, self._options))[1]

    def end(self) -> Any:
        """The values of the oldest run. Raises what `run` would."""
        run = self._flying.popleft()
        if run.error is not None:
            raise run.error
        assert run.call is not None
        return run.call.result(self._ended(run), run.feeds)

    def _ended(self, run: _Run) -> list[Any]:
        if run.step is None:
            return []
        try:
            return self._stream.end(run.step, self._session._timeout_of(self._options))
        except StepFailure as failure:
            raise public_error(failure, self._session._graph) from failure.cause

    def abort(self) -> None:
        """Give up the runs in flight."""
        self._stream.abort()

    def settle(self) -> None:
        """Wait for the runs in flight, and drop what they return or raise."""
        try:
            while self._flying:
                with suppress(Exception):
                    self._ended(self._flying.popleft())
        except BaseException:  # Ctrl-C
            self.abort()
            self.settle()
            raise


def _ahead(row: _Row, source: Iterator[_Feeds], limit: int) -> Iterator[Any]:
    try:
        while True:
            while not row.over and len(row) < limit:
                row.begin(source)
            if not len(row):
                return
            yield row.end()
    except GeneratorExit:
        raise
    except BaseException:
        row.abort()
        raise
    finally:
        row.settle()


def _own(feed: Any) -> Any:
    """A feed that the caller's later changes to its array do not change."""
    return feed.copy() if isinstance(feed, np.ndarray) else feed
