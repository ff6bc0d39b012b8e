"""FileWriter: the event files that TensorBoard reads: summaries, graphs, logs and traces, a record each."""

from __future__ import annotations

import itertools
import logging
import os
import struct
import threading
import time
import warnings
import weakref
from typing import Any, BinaryIO

import numpy as np

from ...graph.graphdef.protos import as_graph_def
from ...graph.ir import Graph
from ...graph.storage.atomic import file_error
from ...graph.storage.files import only_local
from ...graph.storage.places import local_path, shown
from .protos import HINT, can_write_events, event_protos
from .step_stats import run_metadata_bytes

_log = logging.getLogger("weft")

#: Not empty when it was said that tensorboardX is missing.
_missing_told: list[bool] = []
#: The folders of which it was said that no events can be written there.
_elsewhere_told: set[str] = set()

_CLOSED = "Attempting to use a closed FileWriter. Nothing is written until it is opened again with reopen()."

#: What the first record of a file says.
_VERSION = "brain.Event:2"


class EventFile:
    """One open file of records: length, checksum of it, bytes, checksum of them."""

    def __init__(self, folder: str, suffix: str) -> None:
        import socket  # which nobody needs who writes no events

        protos = event_protos()
        self._checksum = protos.checksum
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
        try:
            os.makedirs(folder, exist_ok=True)
            self._file = _create(os.path.join(folder, name), suffix)
            self.write(protos.Event(wall_time=time.time(), file_version=_VERSION))
            self._file.flush()
        except OSError as error:
            raise file_error(f"Cannot write an event file in {folder}", error) from error

    def write(self, event: Any) -> None:
        """Add a record; it is on its way to the file when `flush` returns."""
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = length, self._masked(length), data, self._masked(data)
        self._file.write(b"".join(record))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _masked(self, data: bytes) -> bytes:
        return struct.pack("<I", self._checksum(data))


def _create(path: str, suffix: str) -> BinaryIO:
    """A file that was not there: two writers may begin in the same second."""
    for number in itertools.count():
        try:
            return open(f"{path}.{number}{suffix}" if number else path + suffix, "xb")
        except FileExistsError:
            continue
    raise AssertionError("counting does not end")


class FileWriter:
    """Writes summaries and other events to a new file in `logdir`, which is made when it is not there.

    `graph` is added at once, as by `add_graph`. Events are in the file after `flush` or `close`, at the latest
    `flush_secs` after the one before, or when `max_queue` of them wait. `filename_suffix` ends the file's name. `session` is
    taken for compatibility: `add_summary` wants values. Usable from several threads, and as a context manager, which closes
    it. After `close`, events are dropped with a warning, until `reopen` begins another file.
    Source: `tf.summary.FileWriter`. Raises ImportError without tensorboardX, an OpError for what the file system refuses,
    UnimplementedError for a `logdir` that is a URI of another place: event files grow, and objects do not.
    """

    def __init__(
        self, logdir: Any, graph: Any = None, max_queue: int = 10, flush_secs: float = 120, graph_def: Any = None,
        filename_suffix: str | None = None, session: Any = None,
    ) -> None:  # fmt: skip
        self._logdir: str = only_local(logdir, "The folder of event files, to which each flush adds,")
        self._suffix = filename_suffix or ""
        self._flush_secs = flush_secs
        self._max_queue = max_queue
        self._lock = threading.Lock()
        self._file: EventFile | None = self._new_file()
        self._waiting, self._flushed = 0, time.monotonic()
        #: Tags whose metadata was written: the same again is left out, as readers keep the first.
        self._described: set[str] = set()
        self._traces: set[str] = set()
        if graph is not None or graph_def is not None:
            self.add_graph(graph, graph_def=graph_def)

    def _new_file(self) -> EventFile:
        """A file that is closed with what was written, also when the program ends without closing the writer."""
        file = EventFile(self._logdir, self._suffix)
        weakref.finalize(self, file.close)
        return file

    def get_logdir(self) -> str:
        """The folder it writes to."""
        return self._logdir

    def add_event(self, event: Any) -> None:
        """Add an Event as it is. Raises TypeError for anything else."""
        kind = event_protos().Event
        self._write(_as_message(event, kind, "Event"))

    def add_summary(self, summary: Any, global_step: Any = None) -> None:
        """Add a Summary: the message, or it serialized, which is what a run of a summary operation gives.

        Raises TypeError for anything else, ValueError for bytes that are no Summary.
        """
        from google.protobuf import message

        try:
            found = _as_message(summary, event_protos().Summary, "Summary")
        except message.DecodeError as error:
            raise ValueError(f"the summary is no serialized Summary: {error}") from None
        event = event_protos().Event(summary=found)
        for value in event.summary.value:
            if not value.HasField("metadata"):
                continue
            if value.tag in self._described:
                value.ClearField("metadata")
            self._described.add(value.tag)
        self._timed(event, global_step)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Add a Graph, with the static shapes, or a GraphDef.

        Raises TypeError for something else, ValueError as `Graph.as_graph_def` and for both or neither.
        """
        if (graph is None) == (graph_def is None):
            raise ValueError("Give add_graph either a graph or a graph_def.")
        if isinstance(graph, Graph):
            written = graph.as_graph_def(add_shapes=True)
        else:
            written = as_graph_def(graph if graph_def is None else graph_def, "graph")
        self._timed(event_protos().Event(graph_def=written.SerializeToString()), global_step)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Add a MetaGraphDef. Raises TypeError for anything else."""
        if getattr(getattr(meta_graph_def, "DESCRIPTOR", None), "name", None) != "MetaGraphDef":
            raise TypeError(f"meta_graph_def must be type MetaGraphDef, saw type: {type(meta_graph_def).__name__}")
        self._timed(event_protos().Event(meta_graph_def=meta_graph_def.SerializeToString()), global_step)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Add a SessionLog: that a session started, stopped, or wrote a checkpoint."""
        log = _as_message(session_log, event_protos().SessionLog, "SessionLog")
        self._timed(event_protos().Event(session_log=log), global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Add what a traced run has reported, under a tag. Raises ValueError for a tag that was given before."""
        if tag in self._traces:
            raise ValueError("The provided tag was already used for this event type")
        self._traces.add(tag)
        tagged = event_protos().TaggedRunMetadata(tag=tag, run_metadata=run_metadata_bytes(run_metadata))
        self._timed(event_protos().Event(tagged_run_metadata=tagged), global_step)

    def _timed(self, event: Any, step: Any) -> None:
        event.wall_time = time.time()
        if step is not None:
            event.step = int(step)
        self._write(event)

    def _write(self, event: Any) -> None:
        with self._lock:
            if self._file is None:
                warnings.warn(_CLOSED, stacklevel=4)
                return
            try:
                self._file.write(event)
                self._waiting += 1
                now = time.monotonic()
                if self._waiting >= self._max_queue or now - self._flushed >= self._flush_secs:
                    self._file.flush()
                    self._waiting, self._flushed = 0, now
            except OSError as error:
                raise file_error(f"Cannot write events to {self._logdir}", error) from error

    def flush(self) -> None:
        """Bring all events to the file."""
        with self._lock:
            if self._file is None:
                warnings.warn(_CLOSED, stacklevel=2)
                return
            try:
                self._file.flush()
            except OSError as error:
                raise file_error(f"Cannot write events to {self._logdir}", error) from error
            self._waiting, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        """Bring all events to the file and close it. Idempotent."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            try:
                file.close()
            except OSError as error:
                raise file_error(f"Cannot write events to {self._logdir}", error) from error

    def reopen(self) -> None:
        """Begin another file in the same folder after `close`; nothing when it is open."""
        with self._lock:
            if self._file is None:
                self._file = self._new_file()
                self._waiting, self._flushed = 0, time.monotonic()

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class FileWriterCache:
    """One FileWriter a folder, shared by all who ask for it. Source: `tf.summary.FileWriterCache`."""

    _writers: dict[str, FileWriter] = {}  # noqa: RUF012 - the one cache of the process
    _lock = threading.RLock()

    @staticmethod
    def get(logdir: Any) -> FileWriter:
        """The writer of a folder, made when there is none."""
        folder = os.fspath(logdir)
        with FileWriterCache._lock:
            if folder not in FileWriterCache._writers:
                FileWriterCache._writers[folder] = FileWriter(folder)
            return FileWriterCache._writers[folder]

    @staticmethod
    def clear() -> None:
        """Close the writers and forget them."""
        with FileWriterCache._lock:
            for writer in FileWriterCache._writers.values():
                writer.close()
            FileWriterCache._writers.clear()


def writer_of(folder: str) -> FileWriter | None:
    """The folder's writer for hooks that write events besides; None without tensorboardX and for the URI of another place,
    which a warning says once."""
    if local_path(folder) is None:
        if folder not in _elsewhere_told:
            _elsewhere_told.add(folder)
            _log.warning("No events are written to %s: give them a folder on this machine (summary_dir)", shown(folder))
        return None
    if can_write_events():
        return FileWriterCache.get(folder)
    if not _missing_told:
        _missing_told.append(True)
        _log.warning("No events, graphs and summaries are written for TensorBoard; for them: %s", HINT)
    return None


def _as_message(value: Any, kind: Any, name: str) -> Any:
    """A message of this kind, of whatever library, or serialized. Raises TypeError for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.size == 1:
        value = value.item()
    if isinstance(value, kind):
        copy = kind()
        copy.CopyFrom(value)
        return copy
    if isinstance(value, bytes):
        return kind.FromString(value)
    if getattr(getattr(value, "DESCRIPTOR", None), "name", None) == name:
        return kind.FromString(value.SerializeToString())
    raise TypeError(f"expected a {name} or a serialized one, but got {type(value).__name__}")
