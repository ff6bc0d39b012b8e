"""Session: runs parts of a graph, and keeps plans and variables between runs."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from ..graph import context, errors
from ..graph.aging import uncollected
from ..graph.ir import Graph, Tensor, get_default_graph
from ..graph.shapes import Dims
from . import pipeline
from .calls import Call, Prepared, are_plain_keys, fetches_key, seconds
from .config import ConfigProto, DeviceAttributes, RunMetadata, RunOptions, check_arguments, check_run_arguments
from .execution.failures import StepFailure, public_error
from .execution.threads import limit_kernel_threads
from .feeds import fed_tensors, flatten_feeds, parts_of
from .fetches import Fetches
from .many import ManyRuns
from .partial import PartialStep
from .pipeline import Request
from .placing.whole_graph import WholeGraph
from .planning import engine_for, planning_for
from .reporting.explain import ExplainedPlan
from .reporting.placements import Placements
from .reporting.races import check as check_races
from .reporting.tracing import Tracer
from .stages.plan import StepPlan
from .stages.program import Program
from .stages.prune import unfed_placeholders
from .targets import reset_target

#: A request runs with plans made for the very shapes of its feeds, for this many different shapes; then, with one
#: plan for any shape, which is slower but made once.
SHAPES_A_REQUEST = 16
#: Requests whose plans are kept, and kinds of calls that are remembered.
REQUESTS_KEPT = 512

_CLOSED = "Attempted to use a closed Session."

#: The sessions that are open, for `Session.reset`.
_open: weakref.WeakSet[Session] = weakref.WeakSet()
_opening = threading.Lock()


class Session(ManyRuns):
    """Runs operations of a graph on the devices of `target`: "" for this process, or a cluster's target.

    Source: `tf.Session`. `config` is a ConfigProto. Use it as a context manager, or call `close`.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None) -> None:
        self._graph = get_default_graph() if graph is None else graph
        self._config = ConfigProto() if config is None else config
        self._target = target
        check_arguments(target, self._graph, self._config)
        limit_kernel_threads(self._config.intra_op_parallelism_threads)
        self._engine = engine_for(target, self._config)
        self._whole = None if self._places_pruned_graph() else WholeGraph(self._graph, self._engine, self._config)
        self._planning = planning_for(self._config, self._engine, self._graph)
        self._placements = Placements()
        self._timeout = seconds(self._config.operation_timeout_in_ms)
        self._calls: dict[Any, Call] = {}
        self._prepared: OrderedDict[Request, Prepared] = OrderedDict()
        self._partial: dict[str, PartialStep] = {}
        self._numbers = itertools.count(1)
        #: Held while a plan is made; looking one up takes no lock.
        self._lock = threading.Lock()
        self._closed = False
        self._entered: list[ExitStack] = []
        with _opening:
            _open.add(self)

    @property
    def graph(self) -> Graph:
        """The graph it runs."""
        return self._graph

    @property
    def sess_str(self) -> str:
        """The target it was made with."""
        return self._target

    @property
    def graph_def(self) -> Any:
        """The graph it runs, as a GraphDef."""
        return self._graph.as_graph_def()

    def list_devices(self) -> list[DeviceAttributes]:
        """The devices, by their full names. Raises RuntimeError when closed."""
        if self._closed:
            raise RuntimeError(_CLOSED)
        return [DeviceAttributes(str(device), device.device_type or "") for device in self._engine.devices]

    def _places_pruned_graph(self) -> bool:
        """Whether only what runs need must have a device, and not the whole graph."""
        return self._config.graph_options.place_pruned_graph

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        """Run what `fetches` need and return their values in the same structure; operations give None.

        `fetches`: a Tensor, Operation, Variable, IndexedSlices, SparseTensor, a name, or any nesting of lists, tuples,
        dicts, dataclasses and classes of attrs of these. `feed_dict`: values by tensor. Source: `tf.Session.run`.
        Raises RuntimeError when closed, TypeError and ValueError for fetches and feeds that do not fit the graph,
        errors.OpError when the run fails.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        key = fetches_key(fetches), tuple(feed_dict) if feed_dict else ()
        call = self._calls.get(key)
        if call is None:
            call, feeds = self._new_call(key, fetches, feed_dict)
        elif feed_dict:
            feeds = [feed(value) for feed, value in zip(call.feeders, feed_dict.values(), strict=True)]
        else:
            feeds = []
        return self._finish(call, feeds, options, run_metadata)

    def _new_call(self, key: Any, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> tuple[Call, list[Any]]:
        """What a call that was not seen before comes down to, and its feeds."""
        self._check_open()
        feeds = flatten_feeds(self._graph, feed_dict)
        call = Call(self._graph, fetches, tuple(feeds))
        if key[0] is not None and are_plain_keys(key[1]):
            if len(self._calls) >= REQUESTS_KEPT:
                self._calls.clear()
            self._calls[key] = call
        return call, list(feeds.values())

    def _finish(self, call: Call, feeds: list[Any], options: RunOptions | None, metadata: RunMetadata | None) -> Any:
        if not call.runs:
            return call.result([], feeds)
        if call.prepared is None:
            call.prepared = self._prepare(call.request)
        return call.result(self._step(call.prepared, feeds, options, metadata), feeds)

    def _step(
        self, prepared: Prepared, feeds: list[Any], options: RunOptions | None, metadata: RunMetadata | None
    ) -> list[Any]:
        dims = tuple([array.shape for array in feeds]) if feeds else ()
        if self._whole is not None and self._whole.seen != self._graph.version:
            self._whole.look()
        try:
            _, handle = prepared.loaded.get(dims) or self._load(prepared, dims, options)
            if options is None and metadata is None:
                return self._engine.run(handle, feeds, self._timeout)
            options, metadata = options or RunOptions(), metadata or RunMetadata()
            check_run_arguments(options, metadata)
            if options.output_partition_graphs:
                with self._lock:
                    graphs = pipeline.partition_graphs(prepared.program, dims, self._planning)
                metadata.partition_graphs = graphs
            return self._watched(handle, feeds, options, metadata)
        except StepFailure as failure:
            raise public_error(failure, self._graph) from failure.cause

    def _watched(self, handle: Any, feeds: list[Any], options: RunOptions, metadata: RunMetadata) -> list[Any]:
        """A step with options."""
        timeout = self._timeout_of(options)
        if not options.trace_level:
            return self._engine.run(handle, feeds, timeout)
        if not isinstance(self._engine, Tracer):
            raise errors.UnimplementedError(None, None, f"Steps on {self._target} cannot be traced")
        results, metadata.step_stats = self._engine.trace(handle, feeds, timeout)
        return results

    def _prepare(self, request: Request) -> Prepared:
        """The place for a request's plans, made at its first run."""
        with self._lock, uncollected(lambda: self._graph.version):
            prepared = self._prepared.get(request)
            if prepared is None:
                prepared = self._prepared[request] = Prepared(request, self._cut(request))
                if len(self._prepared) > REQUESTS_KEPT:
                    self._prepared.popitem(last=False)
                    self._calls.clear()  # what is in use comes back, and to the end of the row
            self._prepared.move_to_end(request)
            return prepared

    def _cut(self, request: Request) -> Program:
        """What a request needs, checked for races unless it goes on with what ran before."""
        program = pipeline.cut(request)
        if not request.done:
            check_races(program, self._config.race_check)
        return program

    def _load(self, prepared: Prepared, dims: tuple[Dims, ...], options: RunOptions | None) -> tuple[StepPlan, Any]:
        """The plan of a request and its handle, made at the first run with these shapes."""
        timeout = self._timeout_of(options)
        with prepared.taken(timeout):  # others may plan while this waits for a cluster
            if dims not in prepared.loaded and len(prepared.loaded) >= SHAPES_A_REQUEST:
                dims = tuple(tensor.dims for tensor in prepared.request.feeds)
            if dims not in prepared.loaded:
                with self._lock, uncollected(lambda: self._graph.version):
                    plan = self._make_plan(prepared.program, dims)
                prepared.loaded[dims] = plan, self._engine.load(plan, timeout)
            return prepared.loaded[dims]

    def _timeout_of(self, options: RunOptions | None) -> float | None:
        if options is None:
            return self._timeout
        if not isinstance(options, RunOptions):
            raise TypeError(f"options must be a wf.RunOptions, but got {type(options).__name__}")
        return seconds(options.timeout_in_ms) or self._timeout

    def _make_plan(self, program: Program, dims: tuple[Dims, ...]) -> StepPlan:
        plan = pipeline.make_plan(program, dims, self._planning)
        if self._config.log_device_placement:
            self._placements.tell(plan)
        return plan

    def plan(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> ExplainedPlan:
        """The plan that `run(fetches, feed_dict)` follows; print it to read it, or what its `explain()` says of it.

        Placeholders that `feed_dict` does not mention count as fed, with what is known of their shapes.
        """
        self._check_open()
        wanted = Fetches(self._graph, fetches)
        feeds: dict[Tensor, Dims] = {t: a.shape for t, a in flatten_feeds(self._graph, feed_dict).items()}
        for tensor in unfed_placeholders(wanted.tensors, wanted.operations, feeds):
            feeds[tensor] = tensor.dims
        tensors = tuple(tensor for tensor in wanted.tensors if tensor not in feeds)
        program = pipeline.cut(Request(tensors, tuple(wanted.operations), tuple(feeds)))
        plan = pipeline.explained_plan(program, tuple(feeds.values()), self._planning)
        if self._config.log_device_placement:
            self._placements.tell(plan)
        return plan

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list` that runs `fetches`, with everything else looked up once.

        `feed_list`: tensors or their names; for SparseTensor and IndexedSlices the function takes one value, that of all
        their parts. With `accept_options`, it also takes `options` and `run_metadata`.
        Source: `tf.Session.make_callable`. Raises TypeError for keys and, when called, for another number of values.
        """
        self._check_open()
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise TypeError(f"Argument `feed_list` must be a list or tuple. Received: feed_list={feed_list}")
        keys = list(feed_list or ())
        tensors = [fed_tensors(self._graph, key) for key in keys]
        call = Call(self._graph, fetches, [tensor for several in tensors for tensor in several])
        feeders, counts = call.feeders, [len(several) for several in tensors]

        def run(*values: Any, options: RunOptions | None = None, run_metadata: RunMetadata | None = None) -> Any:
            if len(values) != len(keys):
                raise TypeError(f"this callable takes {len(keys)} feeds, got {len(values)}")
            if self._closed:
                raise RuntimeError(_CLOSED)
            if len(keys) != len(feeders):
                parts = (parts_of(*each) for each in zip(keys, values, counts, strict=True))
                values = tuple(part for several in parts for part in several)
            feeds = [feed(value) for feed, value in zip(feeders, values, strict=True)]
            return self._finish(call, feeds, options, run_metadata)

        return run if accept_options else lambda *values: run(*values)

    def _make_callable_from_options(self, callable_options: Any) -> Callable[..., list[Any]]:
        """A function of the values of `callable_options.feed` that returns the list of those of `callable_options.fetch`.

        It also runs `callable_options.target`, and takes `run_metadata`. Source: `tf.Session._make_callable_from_options`.
        """
        named = callable_options
        feeds, fetches = (
            [self._graph.get_tensor_by_name(name) for name in names] for names in (named.feed, named.fetch)
        )
        targets = [self._graph.get_operation_by_name(name) for name in named.target]
        run = self.make_callable([fetches, targets], feeds, accept_options=True)

        def called(*values: Any, run_metadata: RunMetadata | None = None) -> list[Any]:
            options = named.run_options if run_metadata is not None or named.run_options.timeout_in_ms else None
            found: list[Any] = run(*values, options=options, run_metadata=run_metadata)[0]
            return found

        return called

    def partial_run_setup(self, fetches: Any, feeds: Sequence[Any] | None = None) -> str:
        """Begin a step that is fed and fetched in several calls of `partial_run`; returns the handle for them.

        `fetches` and `feeds` are all that those calls may mention. Each call runs whatever has become possible by
        then, this one too; what fails here, the first of them reports. On a cluster as well.
        Source: `tf.Session.partial_run_setup`. Raises InvalidArgumentError for what is fed twice, both fed and
        fetched, or if there is nothing to fetch.
        """
        self._check_open()
        fed = [tensor for key in feeds or () for tensor in fed_tensors(self._graph, key)]
        request = Call(self._graph, fetches, ()).request
        step = PartialStep(request, fed, lambda part, arrays: self._step(self._prepare(part), arrays, None, None))
        step.begin()
        handle = f"{','.join(t.name for t in fed)}->{','.join(t.name for t in request.fetches)}/{next(self._numbers)}"
        self._partial[handle] = step
        return handle

    def partial_run(self, handle: str, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Feed more of a step that `partial_run_setup` began, and fetch what can now be computed.

        Each tensor is fed once and fetched once; when all have been, the handle ends. A failing operation ends it too;
        wrong arguments leave it as it was. Source: `tf.Session.partial_run`. Raises InvalidArgumentError, and
        RuntimeError for operations among the fetches.
        """
        self._check_open()
        feeds = flatten_feeds(self._graph, feed_dict)
        call = Call(self._graph, fetches, tuple(feeds))
        if call.request.targets:
            names = [operation.name for operation in call.request.targets]
            raise RuntimeError(f"partial_run() fetches tensors, not operations: {names}")
        step = self._partial.get(handle)
        if step is None:
            raise errors.InvalidArgumentError(None, None, "Must run 'setup' before performing partial runs!")
        try:
            values = step.run(call.request.fetches, feeds)
        finally:
            if step.over:
                self._partial.pop(handle, None)
        return call.result(values, list(feeds.values()))

    # life

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(_CLOSED)
        if self._graph.version == 0:
            raise RuntimeError("The Session graph is empty. Add operations to the graph before calling run().")

    def close(self) -> None:
        """End the session: running steps get CancelledError after the kernel that runs now, later ones RuntimeError.

        Idempotent.
        """
        if self._closed:
            return
        self._closed = True
        self._engine.close()
        self._calls.clear()
        self._partial.clear()
        self._prepared.clear()

    @staticmethod
    def reset(target: str, containers: Sequence[str] | None = None, config: ConfigProto | None = None) -> None:
        """Forget variables and shared queues, and end the sessions that used them.

        On a cluster: those of `containers` (by default of the container without a name) on all tasks that
        `config.device_filters` leaves, whose sessions raise AbortedError from then on. In this process (target ""): all
        of all sessions, whatever `containers` says, for each has a container of its own; their runs raise
        CancelledError. Source: `tf.Session.reset`. Raises NotFoundError for a target that nobody serves.
        """
        if target:
            reset_target(target, list(containers or ()), config)
            return
        for session in open_sessions():
            if not session._target:
                session._engine.close()
                session._partial.clear()

    def as_default(self) -> AbstractContextManager[Session]:
        """Make this the thread's default session for a `with` block, which does not close it."""
        return context.as_default_session(self)

    def __enter__(self) -> Session:
        if self._entered:
            raise RuntimeError(
                "Session context managers are not re-entrant. Use `Session.as_default()` to enter a session several times."
            )
        self._make_default(nested=True)
        return self

    def _make_default(self, nested: bool) -> None:
        stack = ExitStack()
        stack.enter_context(context.as_default_graph(self._graph, nested))
        stack.enter_context(self.as_default())
        self._entered.append(stack)

    def __exit__(self, *failure: Any) -> None:
        self._entered.pop().close()
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()


def open_sessions() -> list[Session]:
    """Those of this process that are not closed."""
    with _opening:
        return [session for session in _open if not session._closed]
