"""`wf.distribute`: replicas of a model, their variables, and how their values become one."""

from .mirrored.all_reduce import ReduceOp as ReduceOp
from .mirrored.per_replica import PerReplica as PerReplica
from .mirrored.replica_context import (
    ReplicaContext as ReplicaContext,
    get_replica_context as get_replica_context,
    get_strategy as get_strategy,
    has_strategy as has_strategy,
    in_cross_replica_context as in_cross_replica_context,
)
from .mirrored.strategy import MirroredStrategy as MirroredStrategy
