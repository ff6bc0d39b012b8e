"""Saver: writes the variables of a graph to checkpoints, keeps as many as wanted, and restores them."""

from __future__ import annotations

import numbers
import operator
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ..graph import context, errors, shapes
from ..graph.devices import DeviceSpec
from ..graph.dtypes import DType
from ..graph.graphdef.meta_protos import meta_protos
from ..graph.ir import Operation, Tensor
from ..graph.ops.control import group
from ..graph.ops.placeholders import placeholder
from ..graph.shapes import Dims, as_dims
from ..graph.storage import files
from ..graph.storage.checkpoint import (
    MANIFEST,
    SUFFIX,
    CheckpointReader,
    Entry,
    existing_file,
    write_checkpoint,
    write_files,
)
from ..graph.storage.owners import new_mark
from ..graph.storage.places import add, local_path, shown, split
from ..graph.variable import Variable
from ..runtime.holding import run_held
from .keeping import Keeper, Kept
from .meta_graph_export import MetaGraphBytes
from .saver_arguments import as_array, by_name, check_names, check_session, check_target
from .shards import commit_shards, divided, open_checkpoint, remove_manifest, sizes_of, sweep, write_shards
from .task_shards import Taken, TaskShards, by_task, is_in_process, is_on_tasks

Array = np.ndarray[Any, Any]


class Saver:
    """Saves and restores variables: each under its operation's name, or the names that a dict `var_list` gives.

    `var_list`: a list of variables or a dict by name; by default the graph's global variables. The newest `max_to_keep`
    checkpoints are kept (0 or None: all, and the `checkpoint` file names the last), and besides one of every
    `keep_checkpoint_every_n_hours`. `reshape` restores a
    value of another shape with as many elements. `restore_sequentially` assigns one variable after the other. With
    `defer_build`, call `build` when the variables are made; with `allow_empty` there may be none. `save_relative_paths`
    makes the `checkpoint` file name paths relative to its folder, which can then be moved. `write_version` and `filename` are
    taken for compatibility.

    A checkpoint is one file, `<prefix>.safetensors`; at a URI, and with `sharded` where there is more than one shard, it is
    several: with `sharded` one or more for the variables of each task, of `max_shard_bytes` at most, and a manifest,
    `<prefix>.safetensors.index.json`. Any Saver restores each form, on any placement.

    With `sharded`, in a session on a cluster, each task writes and reads the variables that request it by name
    (`/job:ps/task:1`), all at the same time; they do not come to this process, which writes the manifest. The tasks must reach
    the same folder. Where one does not, a warning says so, and this process fetches and writes all of them.

    Source: `tf.train.Saver`. Raises ValueError when there are no variables, for two of the same name or one with two
    names, for a negative `max_to_keep`, and for a `saver_def` or `builder`, which weft does not have; TypeError for what is
    no variable; RuntimeError in eager execution.
    """

    def __init__(
        self, var_list: Any = None, reshape: bool = False, sharded: bool = False, max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0, name: str | None = None, restore_sequentially: bool = False,
        saver_def: Any = None, builder: Any = None, defer_build: bool = False, allow_empty: bool = False,
        write_version: int = 2, pad_step_number: bool = False, save_relative_paths: bool = False,
        filename: str | None = None, max_shard_bytes: int = 5 * 10**9,
    ) -> None:  # fmt: skip
        if context.executing_eagerly():
            raise RuntimeError("Saver saves the variables of a graph; with eager execution there is none.")
        if saver_def is not None or builder is not None:
            raise ValueError("weft has neither saver_def nor builder: name the variables in var_list.")
        if max_to_keep is not None and max_to_keep < 0:
            raise ValueError(f"max_to_keep must be 0 or more, got {max_to_keep}")
        if max_shard_bytes <= 0:
            raise ValueError(f"max_shard_bytes must be positive, got {max_shard_bytes}")
        if defer_build and var_list is not None:
            raise ValueError(
                "With defer_build the variables are those there are when build is called: give no var_list."
            )
        self._reshape = reshape
        self._sharded = sharded
        self._max_shard_bytes = max_shard_bytes
        self._max_to_keep = max_to_keep or 0
        self._hours_to_keep = keep_checkpoint_every_n_hours
        self._keeper = Keeper(self._max_to_keep, self._hours_to_keep * 3600, save_relative_paths)
        self._name = name
        self._sequentially = restore_sequentially
        self._allow_empty = allow_empty
        self._pad_step_number = pad_step_number
        #: Folders where what crashed saves left was removed.
        self._swept: set[str] = set()
        #: The marks of saves that failed, of which a task may write a shard even later.
        self._given_up: set[str] = set()
        self._meta_graph = MetaGraphBytes()
        self._saving = threading.Lock()
        self._variables: dict[str, Variable] | None = None
        if not defer_build:
            self._build(var_list)

    def build(self) -> None:
        """Add the operations that restore, when the constructor was told to defer it. Does nothing the second time."""
        if self._variables is None:
            self._build(None)

    def _build(self, var_list: Any) -> None:
        self._variables = by_name(var_list)
        if not self._variables and not self._allow_empty:
            raise ValueError("No variables to save")
        self._feeds: dict[str, Tensor] = {}
        self._tasks: TaskShards | None = None
        if self._variables:
            self._restore_all = self._add_restore(list(self._variables.items()))

    def _add_restore(self, variables: list[tuple[str, Variable]]) -> Operation:
        """The operation that assigns what is fed to one placeholder a variable."""
        graph = variables[0][1].graph
        for name, variable in variables:
            if variable.graph is not graph:
                raise ValueError(f"Variable {name} is not in the graph of variable {variables[0][0]}.")
        assigned: list[Operation] = []
        with graph.as_default(), graph.control_dependencies(None), graph.name_scope(self._name or "save") as scope:
            if self._sharded and by_task(dict(variables)):
                self._tasks = TaskShards(graph, dict(variables), scope)
                self._feeds |= self._tasks.values
            for name, variable in variables:
                if name not in self._feeds:
                    with graph.colocate_with(variable.op, ignore_existing=True):
                        self._feeds[name] = placeholder(variable.dtype, variable.shape)
                with graph.control_dependencies(assigned[-1:] if self._sequentially else []):
                    assigned.append(variable.assign(self._feeds[name], read_value=False))
            return group(*assigned, name="restore_all")

    def _built(self, verb: str) -> dict[str, Variable]:
        if self._variables is None:
            raise RuntimeError(f"`build()` should be called before {verb} if defer_build==True")
        return self._variables

    def _reaching(self, sess: Any, place: str, to_write: bool) -> TaskShards | None:
        """The tasks that save and restore what they keep, if there are any in this session, and all reach the place."""
        tasks = self._tasks
        return tasks if tasks is not None and is_on_tasks(sess) and tasks.reach(sess, place, to_write) else None

    # saving

    def save(
        self, sess: Any, save_path: str, global_step: Any = None, latest_filename: str | None = None,
        meta_graph_suffix: str = "meta", write_meta_graph: bool = True, write_state: bool = True,
        strip_default_attrs: bool = False,
    ) -> str | None:  # fmt: skip
        """Write the variables' values to `<save_path>-<global_step>.safetensors`; returns that path without its suffix.

        `save_path` may be a URI that `pyarrow.fs.FileSystem.from_uri` knows, such as `s3://bucket/folder/name`.

        All values are of one run of `sess`, with that of `global_step` (an int, a tensor, a variable or None: no number).
        The checkpoint is there whole or not at all. With `write_meta_graph` the graph of `sess` is written beside it, to the same
        path with `.<meta_graph_suffix>` (`train.import_meta_graph` reads it), where tensorboardX is installed. With
        `write_state` the `checkpoint` file of the folder (`latest_filename`) then names it, and older ones that are not to
        be kept are deleted. Without variables (`allow_empty`) nothing is written and None returned. `strip_default_attrs` is
        taken for compatibility.

        Raises ValueError for a folder that does not exist and a `latest_filename` with a folder in it,
        errors.ResourceExhaustedError when the disk is full, PermissionDeniedError, UnavailableError when a host cannot be
        reached, UnimplementedError for a scheme that is not known, errors.FailedPreconditionError for an uninitialized
        variable, RuntimeError when the session is closed. The checkpoint before is then what it was.
        """
        suffix = meta_graph_suffix if write_meta_graph else None
        with self._saving:  # of two threads, the one that takes its values first also writes first
            return self.snapshot(sess, save_path, global_step, latest_filename, suffix, write_state)()

    def snapshot(
        self, sess: Any, save_path: str, global_step: Any = None, latest_filename: str | None = None,
        meta_graph_suffix: str | None = "meta", write_state: bool = True,
    ) -> Callable[[], str | None]:  # fmt: skip
        """The first half of `save`: takes the values now, and returns a function that writes them, and returns the path.

        That function may run in another thread while the training goes on: the values stay what they are. One at a
        time, and in order.
        """
        variables = self._built("save")
        save_path = os.fspath(save_path)
        check_target(sess, save_path, latest_filename)
        if not variables:
            return lambda: None
        values, taken, step = self._take(sess, save_path, global_step)
        prefix = save_path if step is None else add(save_path, f"-{step:0{8 if self._pad_step_number else 1}d}")
        meta = None if meta_graph_suffix is None else self._meta_graph.of(sess.graph, self)

        def write() -> str:
            self._sweep(prefix, latest_filename or "checkpoint")
            if taken is None:
                self._write(prefix, values)
            else:
                self._write_with_tasks(sess, prefix, values, taken)
            if meta is not None:
                files.write_whole(add(prefix, f".{meta_graph_suffix}"), meta)
            if write_state:
                self._keeper.record(prefix, latest_filename)
            return prefix

        return write

    def _sweep(self, prefix: str, state_name: str) -> None:
        """At the first save into a folder, and after one that failed there."""
        folder = split(prefix)[0]
        if (self._sharded or local_path(prefix) is None) and folder not in self._swept:
            sweep(folder, state_name, self._given_up)
            self._swept.add(folder)

    def _write(self, prefix: str, values: Mapping[str, Array]) -> None:
        groups = self._groups(values)
        local = local_path(prefix) is not None
        if local and (not self._sharded or len(divided(sizes_of(groups), self._max_shard_bytes)) == 1):
            write_checkpoint(add(prefix, SUFFIX), values)
            if files.is_file(add(prefix, MANIFEST)):  # of a sharded one before, whose place this takes
                remove_manifest(prefix)
        else:
            write_shards(prefix, groups, self._max_shard_bytes)

    def _write_with_tasks(self, sess: Any, prefix: str, values: Mapping[str, Array], taken: Taken) -> None:
        """Tasks write what they hold, this process the other variables' `values`, and then the manifest."""
        assert self._tasks is not None
        tasks = self._tasks
        pieces = divided([*taken.sizes, *sizes_of(self._groups(values))], self._max_shard_bytes)
        mark = new_mark()

        def write(folder: str, places: Mapping[str, str]) -> Mapping[str, Entry]:
            return tasks.write(sess, taken, folder, places) | write_files(folder, places, values)

        try:
            commit_shards(prefix, pieces, mark, write)
        except BaseException:
            self._given_up.add(mark)
            self._swept.discard(split(prefix)[0])
            raise

    def _groups(self, values: Mapping[str, Array]) -> list[dict[str, Array]]:
        """With `sharded`, the variables of each task by themselves."""
        groups: dict[str, dict[str, Array]] = {}
        for name, value in values.items():
            device = self._built("save")[name].device if self._sharded else ""
            groups.setdefault(str(DeviceSpec.from_string(device).task_only()), {})[name] = value
        return list(groups.values())

    def _take(self, sess: Any, save_path: str, global_step: Any) -> tuple[dict[str, Array], Taken | None, int | None]:
        """In one run: the values of variables, or of those that no task holds now; what tasks hold; the global step."""
        tasks, taken = self._reaching(sess, split(save_path)[0], to_write=True), None
        held: Collection[str] = () if tasks is None else tasks.values
        variables = {name: each for name, each in self._built("save").items() if name not in held}
        asked = global_step is not None and not isinstance(global_step, numbers.Integral)
        fetches = [list(variables.values()), [global_step] if asked else []]
        if tasks is None:
            fetched, steps = run_held(sess, fetches) if is_in_process(sess) else sess.run(fetches)
        else:
            (fetched, steps), taken = tasks.hold(sess, fetches)
        values = {name: as_array(value, variables[name]) for name, value in zip(variables, fetched, strict=True)}
        step = steps[0] if asked else global_step
        return values, taken, None if step is None else operator.index(step)

    def as_saver_def(self) -> Any:
        """What `train.export_meta_graph` writes of it: how many checkpoints it keeps. Raises ImportError without protobuf."""
        protos, hours = meta_protos(), self._hours_to_keep
        return protos.SaverDef(max_to_keep=self._max_to_keep, keep_checkpoint_every_n_hours=hours, version=2)

    # the checkpoints that are kept

    @property
    def last_checkpoints(self) -> list[str]:
        """The prefixes of the checkpoints that are kept and not yet deleted, oldest first."""
        return [path for path, _ in self._keeper.kept]

    def set_last_checkpoints(self, last_checkpoints: Iterable[str]) -> None:
        """Take these prefixes, oldest first, as the checkpoints that are kept; they count as made now."""
        self._keeper.kept = [(path, time.time()) for path in last_checkpoints]

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: Iterable[Kept]) -> None:
        """Take these prefixes and the times they were made, oldest first, as the checkpoints that are kept."""
        self._keeper.kept = list(last_checkpoints_with_time)

    def recover_last_checkpoints(self, checkpoint_paths: Iterable[str]) -> None:
        """Take those of these prefixes that exist, oldest first, as the checkpoints that are kept: after a restart."""
        self._keeper.recover(checkpoint_paths)

    # restoring

    def restore(self, sess: Any, save_path: str | None) -> None:
        """Give the variables the values they have in the checkpoint `save_path`, in one run; all of them or none.

        Raises ValueError when there is no such checkpoint, errors.DataLossError when it is damaged, errors.NotFoundError
        when it does not hold a variable, errors.InvalidArgumentError when one has another type or shape there,
        RuntimeError when the session is closed. With `sharded`, on a cluster, each task reads and checks what it keeps; when
        all of it is there, another run assigns it.
        """
        variables = self._built("restore")
        if not variables:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        check_session(sess)
        path = existing_file(os.fspath(save_path))
        if path is None:
            raise ValueError(f"The passed save_path is not a valid checkpoint: {shown(os.fspath(save_path))}")
        reader = open_checkpoint(path)
        check_names(reader, variables)
        shapes_there, types_there = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        for name, variable in variables.items():
            self._check_fit(shown(reader.path), variable, types_there[name], tuple(shapes_there[name]))
        tasks = self._reaching(sess, path, to_write=False)
        feeds = {
            self._feeds[name]: self._value(reader, name, variable)
            for name, variable in variables.items()
            if tasks is None or name not in tasks.values
        }
        if tasks is not None:
            feeds |= tasks.read(sess, reader)
        sess.run(self._restore_all, feeds)

    def _check_fit(self, path: str, variable: Variable, found: DType, shape: Dims) -> None:
        """Raises InvalidArgumentError when a variable cannot have the value that is in the checkpoint."""
        dims = as_dims(variable.shape)
        if variable.dtype is not found:
            what = f"expected dtype {variable.dtype.name} does not equal original dtype {found.name}"
        elif not shapes.compatible(dims, shape) and not (self._reshape and shapes.count(dims) == shapes.count(shape)):
            what = f"it has shape {shapes.text(dims)} in the graph and {shapes.text(shape)} in the checkpoint"
        else:
            return
        operation = variable.op
        text = f"Cannot restore variable {operation.name} from checkpoint {path}: {what}. It was made at {operation.location}"
        raise errors.InvalidArgumentError(operation, operation, text)

    @staticmethod
    def _value(reader: CheckpointReader, name: str, variable: Variable) -> Array:
        value, dims = reader.get_tensor(name), as_dims(variable.shape)
        return (
            value if shapes.compatible(dims, value.shape) else value.reshape([d for d in dims or () if d is not None])
        )
