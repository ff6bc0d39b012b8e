"""Session: runs parts of a graph, and keeps plans and variables between runs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from ..graph import context
from ..graph.ir import Graph, Operation, Tensor, get_default_graph
from ..graph.shapes import Dims
from . import pipeline
from .config import ConfigProto, RunMetadata, RunOptions
from .engine import engine_for
from .failures import StepFailure, public_error
from .feeds import feed_array, flatten_feeds
from .fetches import Fetches, as_result
from .pipeline import Request
from .plan import StepPlan
from .program import Program
from .threads import limit_kernel_threads

_log = logging.getLogger("weft")

#: A request runs with plans made for the very shapes of its feeds, for this many different shapes; then, with one
#: plan for any shape, which is slower but made once.
SHAPES_A_REQUEST = 16
#: Requests whose plans are kept, the most recently used.
REQUESTS_KEPT = 512


class _Prepared:
    """What is kept for one request: its pruned program and its plans, by the shapes that were fed."""

    def __init__(self, request: Request, program: Program) -> None:
        self.request = request
        self.program = program
        self.loaded: dict[tuple[Dims, ...], tuple[StepPlan, Any]] = {}


class Session:
    """Runs operations of a graph on the devices of `target`: "" for this process, or a cluster's target.

    Source: `tf.Session`. `config` is a ConfigProto. Use it as a context manager, or call `close`.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None) -> None:
        self._graph = get_default_graph() if graph is None else graph
        self._config = ConfigProto() if config is None else config
        self._target = target
        if not isinstance(target, str):
            raise TypeError(f"target must be a string, but got {type(target).__name__}")
        if not isinstance(self._config, ConfigProto):
            raise TypeError(f"config must be a wf.ConfigProto, but got {type(config).__name__}")
        limit_kernel_threads(self._config.intra_op_parallelism_threads)
        self._engine = engine_for(target, self._config)
        self._prepared: OrderedDict[Request, _Prepared] = OrderedDict()
        self._lock = threading.RLock()
        self._closed = False
        self._entered: list[ExitStack] = []

    @property
    def graph(self) -> Graph:
        """The graph it runs."""
        return self._graph

    @property
    def sess_str(self) -> str:
        """The target it was made with."""
        return self._target

    @property
    def graph_def(self) -> Graph:
        """The graph it runs."""
        return self._graph

    def list_devices(self) -> list[str]:
        """The full names of the devices."""
        return [str(device) for device in self._engine.devices]

    # running

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        """Run what `fetches` need and return their values in the same structure; operations give None.

        `fetches`: a Tensor, Operation, Variable, IndexedSlices, a name, or any nesting of lists, tuples, dicts and
        dataclasses of these. `feed_dict`: values by tensor. Source: `tf.Session.run`. Raises RuntimeError when closed,
        TypeError and ValueError for fetches and feeds that do not fit the graph, errors.OpError when the run fails.
        """
        self._check_open()
        wanted = Fetches(self._graph, fetches)
        feeds = flatten_feeds(self._graph, feed_dict)
        values = dict(feeds)
        tensors = tuple(tensor for tensor in wanted.tensors if tensor not in feeds)
        if tensors or wanted.operations:
            request = Request(tensors, tuple(wanted.operations), tuple(feeds))
            results = self._step(request, list(feeds.values()), options, run_metadata)
            values.update(zip(tensors, results, strict=True))
        return wanted.rebuild({tensor: as_result(values[tensor]) for tensor in wanted.tensors})

    def _step(
        self, request: Request, feeds: list[Any], options: RunOptions | None, metadata: RunMetadata | None
    ) -> list[Any]:
        milliseconds = (options.timeout_in_ms if options else 0) or self._config.operation_timeout_in_ms
        try:
            plan, handle = self._load(request, tuple(array.shape for array in feeds))
            if metadata is not None:
                metadata.partition_graphs = [str(part) for part in plan.plans]
            return self._engine.run(handle, feeds, milliseconds / 1000 if milliseconds else None)
        except StepFailure as failure:
            raise public_error(failure, self._graph) from failure.cause

    def _load(self, request: Request, dims: tuple[Dims, ...]) -> tuple[StepPlan, Any]:
        """The plan of a request and its handle, made at the first run with these shapes."""
        with self._lock:
            prepared = self._prepared.get(request)
            if prepared is None:
                prepared = _Prepared(request, pipeline.cut(request))
                self._prepared[request] = prepared
                if len(self._prepared) > REQUESTS_KEPT:
                    self._prepared.popitem(last=False)
            self._prepared.move_to_end(request)
            if dims not in prepared.loaded and len(prepared.loaded) >= SHAPES_A_REQUEST:
                dims = tuple(tensor.dims for tensor in request.feeds)
            if dims not in prepared.loaded:
                plan = self._make_plan(prepared.program, dims)
                prepared.loaded[dims] = plan, self._engine.load(plan)
            return prepared.loaded[dims]

    def _make_plan(self, program: Program, dims: tuple[Dims, ...]) -> StepPlan:
        config = self._config
        plan = pipeline.make_plan(program, dims, self._engine, config.allow_soft_placement, config.schedule_seed)
        if config.log_device_placement:
            _log.info("%s", plan)
        return plan

    def plan(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> StepPlan:
        """The plan that `run(fetches, feed_dict)` follows; print it to read it.

        Placeholders that `feed_dict` does not mention count as fed, with what is known of their shapes.
        """
        self._check_open()
        wanted = Fetches(self._graph, fetches)
        feeds: dict[Tensor, Dims] = {t: a.shape for t, a in flatten_feeds(self._graph, feed_dict).items()}
        for tensor in _placeholders(list(wanted.tensors), list(wanted.operations), feeds):
            feeds[tensor] = tensor.dims
        tensors = tuple(tensor for tensor in wanted.tensors if tensor not in feeds)
        program = pipeline.cut(Request(tensors, tuple(wanted.operations), tuple(feeds)))
        return self._make_plan(program, tuple(feeds.values()))

    def make_callable(
        self, fetches: Any, feed_list: list[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list` that runs `fetches`, with everything else looked up once.

        Source: `tf.Session.make_callable`.
        """
        self._check_open()
        wanted = Fetches(self._graph, fetches)
        keys = [self._graph.as_graph_element(key, allow_operation=False) for key in feed_list or ()]
        fed = tuple(key for key in keys if isinstance(key, Tensor))
        tensors = tuple(tensor for tensor in wanted.tensors if tensor not in set(fed))
        request = Request(tensors, tuple(wanted.operations), fed)

        def call(*values: Any, options: RunOptions | None = None, run_metadata: RunMetadata | None = None) -> Any:
            if len(values) != len(fed):
                raise TypeError(f"this callable takes {len(fed)} feeds, got {len(values)}")
            self._check_open()
            arrays = [feed_array(tensor, value) for tensor, value in zip(fed, values, strict=True)]
            results = self._step(request, arrays, options, run_metadata)
            found = dict(zip(fed, arrays, strict=True)) | dict(zip(tensors, results, strict=True))
            return wanted.rebuild({tensor: as_result(found[tensor]) for tensor in wanted.tensors})

        return call

    # life

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if self._graph.version == 0:
            raise RuntimeError("The Session graph is empty. Add operations to the graph before calling run().")

    def close(self) -> None:
        """End the session: running steps get CancelledError, later ones RuntimeError. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._engine.close()
        self._prepared.clear()

    def as_default(self) -> AbstractContextManager[Session]:
        """Make this the thread's default session for a `with` block, which does not close it."""
        return context.as_default_session(self)

    def __enter__(self) -> Session:
        stack = ExitStack()
        stack.enter_context(self._graph.as_default())
        stack.enter_context(self.as_default())
        self._entered.append(stack)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._entered.pop().close()
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()


class InteractiveSession(Session):
    """A session that is the thread's default as soon as it is made. Source: `tf.InteractiveSession`."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None) -> None:
        super().__init__(target, graph, config)
        stack = ExitStack()
        stack.enter_context(self._graph.as_default())
        stack.enter_context(self.as_default())
        self._entered.append(stack)

    def close(self) -> None:
        """End the session, and stop being the default."""
        while self._entered:
            self._entered.pop().close()
        super().close()


def _placeholders(tensors: list[Tensor], operations: list[Operation], fed: Mapping[Tensor, Any]) -> list[Tensor]:
    """The placeholders that fetches need and nobody feeds."""
    found: list[Tensor] = []
    seen: set[Operation] = set()
    waiting = [tensor.op for tensor in tensors if tensor not in fed] + operations
    while waiting:
        operation = waiting.pop()
        if operation in seen:
            continue
        seen.add(operation)
        if operation.type == "Placeholder" and operation.outputs[0] not in fed:
            found.append(operation.outputs[0])
        waiting += [tensor.op for tensor in operation.inputs if tensor not in fed]
        waiting += operation.control_inputs
    return found
