"""SyncReplicasOptimizer: one update from the gradients of several workers, who then go on to the next step together."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from ..compat import logging
from ..graph import errors
from ..graph.accumulators import ConditionalAccumulator, SparseConditionalAccumulator
from ..graph.collections import GraphKeys
from ..graph.dtypes import int64
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, get_default_graph
from ..graph.ops.accumulators import AccumulatorStopTaking
from ..graph.ops.cast import cast
from ..graph.ops.control import group
from ..graph.ops.fills import fill
from ..graph.ops.identity import no_op
from ..graph.sync import SyncedGradients, TokenQueue, new_member
from ..graph.variable import Variable
from ..graph.variable_functions import global_variables, report_uninitialized_variables
from .hooks.session_run_hook import SessionRunHook
from .optimizers.optimizer import Optimizer
from .queues.queue_runner import QueueRunner


class SyncReplicasOptimizer(Optimizer):
    """Makes the updates of another optimizer synchronous over several workers.

    Each worker adds its gradients to an accumulator beside the variable and waits for a token. The chief's queue runner takes
    the mean of `replicas_to_aggregate` gradients, applies it with `opt`, and hands out tokens for the next step: as many as
    there are workers (`total_num_replicas`), or as gradients where these are more. A gradient that was computed for an older
    step is dropped, so with more workers than gradients the slow ones are spares. The mean of three and more does not
    depend, to the bit, on who came first. `variable_averages` (an ExponentialMovingAverage) is applied to
    `variables_to_average` after each update. Source: `tf.train.SyncReplicasOptimizer`. Raises TypeError for an `opt` that is no
    optimizer, ValueError for counts below 1.

    A worker brings one gradient a step, where TensorFlow's may bring two when another one's token lies there; with fewer
    workers than gradients, and once a worker has left, it brings several. A chief that begins (`chief_init_op`) begins an
    epoch: gradients, tokens and updates of an earlier one count no more, and workers go on from the step that it begins at.
    A worker that was started again replaces what it had brought.
    """

    def __init__(
        self, opt: Optimizer, replicas_to_aggregate: int, total_num_replicas: int | None = None,
        variable_averages: Any = None, variables_to_average: Any = None, use_locking: bool = False,
        name: str = "sync_replicas",
    ) -> None:  # fmt: skip
        total = replicas_to_aggregate if total_num_replicas is None else total_num_replicas
        if not isinstance(opt, Optimizer):
            raise TypeError(f"opt must be the optimizer that applies the gradients, but got {opt!r}")
        counts: dict[str, Any] = {"replicas_to_aggregate": replicas_to_aggregate, "total_num_replicas": total}
        for what, count in counts.items():
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{what} must be a whole number of at least 1, but got {count!r}")
        Optimizer.__init__(self, use_locking, name)
        logging.info("SyncReplicas: replicas_to_aggregate=%s; total_num_replicas=%s", replicas_to_aggregate, total)
        self._opt = opt
        self._replicas_to_aggregate = replicas_to_aggregate
        self._total_num_replicas = total
        self._tokens_per_step = max(total, replicas_to_aggregate)
        self._variable_averages = variable_averages
        self._variables_to_average = variables_to_average
        self._gradients_applied = False
        self._global_step: Any = None
        self._queue: Any = None
        self._member: Any = None
        self._now: Any = None
        self._stop_taking: Any = None
        self._sync_op: Any = None
        self._runner: QueueRunner | None = None
        #: The worker's step, set from the global one: for each worker, and for the chief, who sets the accumulators' too.
        self.local_step_init_op: Any = None
        self.chief_init_op: Any = None
        #: The names of the global variables that have no value yet.
        self.ready_for_local_init_op: Any = None

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        """The wrapped optimizer's: gradients of this worker, not yet aggregated."""
        return self._opt.compute_gradients(*args, **kwargs)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], global_step: Variable | None = None, name: str | None = None
    ) -> Operation:
        """The operation that a worker runs: it adds the gradients, and waits until the next step may begin.

        It also makes the init operations and the chief's queue runner. Raises ValueError without gradients and variables,
        without a global step, and for what is no gradient.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError("Must supply at least one variable")
        if global_step is None:
            raise ValueError("Global step is required to check staleness")
        graph = get_default_graph()
        self._global_step = global_step
        with _beside(graph, global_step), graph.name_scope(""):
            self._queue = TokenQueue("sync_token_q", counted=self._total_num_replicas < self._replicas_to_aggregate)
        local_step = self._make_local_step(graph)
        with graph.name_scope(None), graph.name_scope(self._name):
            synced, applied, taken = self._accumulate(graph, pairs)
            # No variable changes before all gradients are there: a worker that is started again then computes the same ones.
            known = [each for gradient, _ in taken if gradient is not None for each in _tensors(gradient)]
            with _beside(graph, global_step), graph.name_scope(""), graph.control_dependencies(known):
                update = self._opt.apply_gradients(taken, global_step)
            train_op = self._exchange_tokens(graph, applied, update, local_step)
            stops = []
            for each, device in synced:
                with graph.device(device):
                    stops.append(AccumulatorStopTaking().node(each.handle, name="StopTaking"))
            self._make_chief_init(graph, synced, local_step)
            # The chief's thread waits for gradients as a rule, and must not wait for more of them when all is over.
            self._stop_taking = group(*stops)
            self._runner = QueueRunner(self._queue, [self._sync_op], cancel_op=group(self._queue.close(), *stops))
        self._gradients_applied = True
        return train_op

    def _make_local_step(self, graph: Graph) -> Variable:
        """The step that this worker's gradients are for, and what else they are told by, on the worker."""
        step = self._global_step
        local: dict[str, Any] = {"trainable": False, "collections": [GraphKeys.LOCAL_VARIABLES]}
        with graph.colocate_with(no_op()):
            local_step = Variable(0, dtype=step.dtype, name="sync_rep_local_step", **local)
            self._member = Variable([0] * 4, dtype=int64, name="sync_rep_member", **local)
        self._now = self._member.read_value()
        with _beside(graph, step):
            epoch = self._queue.epoch()
        self.local_step_init_op = self._set_member(graph, epoch, [epoch], local_step)
        self.ready_for_local_init_op = report_uninitialized_variables(global_variables())
        return local_step

    def _set_member(self, graph: Graph, epoch: Tensor, after: list[Any], local_step: Variable) -> Operation:
        """What a worker's session begins with. The epoch comes first: a step that is read then is of that epoch."""
        with graph.control_dependencies(after):
            step = self._global_step.read_value()
        member = new_member(step, epoch, self._queue.counted)
        return group(
            self._member.assign(member, read_value=False),
            local_step.assign(step, read_value=False),
            name="SetLocalStep",
        )

    def _make_chief_init(self, graph: Graph, synced: list[tuple[SyncedGradients, str]], local_step: Variable) -> None:
        """Begin an epoch: with the accumulators, so that they know it when the workers hear of it."""
        step = self._global_step.read_value()
        number = self._queue.new_epoch()
        begun = []
        for each, device in synced:
            with graph.device(device):
                begun.append(each.begin_epoch(step, number))
        with _beside(graph, self._global_step), graph.control_dependencies(begun):
            begin = self._queue.begin(step, number)
        self.chief_init_op = self._set_member(graph, number, [begin], local_step)

    def _accumulate(
        self, graph: Graph, pairs: list[tuple[Any, Any]]
    ) -> tuple[list[tuple[SyncedGradients, str]], list[Operation], list[tuple[Any, Any]]]:
        """Accumulators with their devices, the operations that add to them, and what is taken from them, by variable."""
        synced: list[tuple[SyncedGradients, str]] = []
        applied: list[Operation] = []
        taken: list[tuple[Any, Any]] = []
        for grad, var in pairs:
            name = f"{var.name}/grad_accum"
            kind: Any = ConditionalAccumulator
            gradient: Any = None
            if isinstance(grad, IndexedSlices):
                kind = SparseConditionalAccumulator
            elif grad is not None and not isinstance(grad, Tensor):
                raise ValueError(f"Unknown grad type: {grad!r}")
            if grad is not None:
                with graph.device(var.device):
                    shape = var.get_shape() if kind is ConditionalAccumulator else ()
                    each = SyncedGradients(kind(grad.dtype, shape=shape, shared_name=name))
                    applied.append(each.apply(grad, self._now))
                    gradient = each.take(self._replicas_to_aggregate)
                synced.append((each, var.device))
            taken.append((gradient, var))
        return synced, applied, taken

    def _exchange_tokens(
        self, graph: Graph, applied: list[Operation], update: Operation, local_step: Variable
    ) -> Operation:
        """The worker's operation, which ends with a token; and the chief's, which gives them out after the update."""
        step = self._global_step
        with _beside(graph, step), graph.name_scope(""):
            with graph.control_dependencies(applied):
                member = self._queue.take(self._now)
            with graph.control_dependencies([self._member.assign(member, read_value=False)]):
                train_op = local_step.assign(cast(member[0], step.dtype), read_value=False)
            with graph.control_dependencies([update]):
                sync_op: Operation = self._queue.put(fill([self._tokens_per_step], step))
            if self._variable_averages is not None:
                with graph.control_dependencies([sync_op]):
                    sync_op = self._variable_averages.apply(self._variables_to_average)
            self._sync_op = sync_op
        made: Operation = train_op
        return made

    def get_chief_queue_runner(self) -> QueueRunner:
        """What the chief runs beside its own training: it updates the variables and hands out tokens.

        Raises ValueError before `apply_gradients`.
        """
        if self._runner is None:
            raise ValueError("Should be called after apply_gradients().")
        return self._runner

    def get_init_tokens_op(self, num_tokens: int = -1) -> Operation:
        """What the chief runs once, at the beginning: it hands out `num_tokens` (-1: as many as gradients are aggregated).

        Where there are fewer workers than gradients, each has to begin several times; else it begins without one. Raises
        ValueError for fewer than that takes, and before `apply_gradients`.
        """
        if not self._gradients_applied:
            raise ValueError("get_init_tokens_op() should be called after apply_gradients().")
        needed = self._replicas_to_aggregate - self._total_num_replicas
        if num_tokens == -1:
            num_tokens = self._replicas_to_aggregate
        elif num_tokens < needed:
            raise ValueError(f"Too few tokens to finish the first step: {num_tokens} (given) vs {needed} (needed)")
        if num_tokens <= 0:
            return no_op(name="no_init_tokens")
        graph = get_default_graph()
        with _beside(graph, self._global_step), graph.name_scope(""):
            operation: Operation = self._queue.put(fill([num_tokens], self._global_step))
            return operation

    def make_session_run_hook(self, is_chief: bool, num_tokens: int = -1) -> SyncReplicasHook:
        """The hook that initializes what this needs in a monitored session, and starts the chief's queue runner."""
        return SyncReplicasHook(self, is_chief, num_tokens)

    def get_slot(self, *args: Any, **kwargs: Any) -> Variable | None:
        """The wrapped optimizer's."""
        return self._opt.get_slot(*args, **kwargs)

    def get_slot_names(self, *args: Any, **kwargs: Any) -> list[str]:
        """The wrapped optimizer's."""
        return self._opt.get_slot_names(*args, **kwargs)

    def variables(self) -> list[Variable]:
        """The wrapped optimizer's; not the worker's step."""
        return self._opt.variables()


class SyncReplicasHook(SessionRunHook):
    """Initializes a SyncReplicasOptimizer in each session that is made; the chief's also hands out the first tokens.

    A worker that ends leaves its tokens to the others; the chief ends the others' waits when it ends as it should, and
    lets them wait for its next session when it fails.

    `begin` raises ValueError before `apply_gradients`, `after_create_session` RuntimeError where global variables have no value.
    """

    def __init__(self, sync_optimizer: SyncReplicasOptimizer, is_chief: bool, num_tokens: int) -> None:
        self._optimizer = sync_optimizer
        self._is_chief = is_chief
        self._num_tokens = num_tokens
        self._init_op: Any = None
        self._tokens_op: Any = None
        self._end_op: Any = None
        self._runner: QueueRunner | None = None

    def begin(self) -> None:
        if not self._optimizer._gradients_applied:
            raise ValueError("SyncReplicasOptimizer.apply_gradients should be called before using the hook.")
        opt = self._optimizer
        with _beside(get_default_graph(), opt._global_step):
            self._end_op = opt._queue.close() if self._is_chief else opt._queue.leave(opt._now)
        if self._is_chief:
            self._init_op = opt.chief_init_op
            self._runner = QueueRunner(opt._queue, [opt._sync_op], close_op=self._end_op, cancel_op=opt._stop_taking)
            self._tokens_op = opt.get_init_tokens_op(self._num_tokens)
        else:
            self._init_op, self._runner, self._tokens_op = opt.local_step_init_op, None, None

    def after_create_session(self, session: Any, coord: Any) -> None:
        missing = session.run(self._optimizer.ready_for_local_init_op)
        if len(missing):
            names = ", ".join(each.decode() for each in missing)
            raise RuntimeError(
                "Init operations did not make model ready for SyncReplicasOptimizer local_init. "
                f"Init op: {self._init_op.name}, error: Variables not initialized: {names}"
            )
        session.run(self._init_op)
        if self._tokens_op is not None:
            session.run(self._tokens_op)
        if self._runner is not None:
            self._runner.create_threads(session, coord=coord, daemon=True, start=True)

    def end(self, session: Any) -> None:
        try:
            session.run(self._end_op)
        except errors.OpError as error:  # what it says to the others must not keep a training from ending well
            logging.warning("The others could not be told that this worker has ended: %s", error)


def _tensors(gradient: Any) -> list[Tensor]:
    return [gradient] if isinstance(gradient, Tensor) else [gradient.values, gradient.indices]


def _beside(graph: Graph, variable: Any) -> Any:
    return graph.device(variable.device)
