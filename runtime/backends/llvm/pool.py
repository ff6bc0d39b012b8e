"""The threads of compiled functions: they take blocks without Python, and look for the next job a while before they sleep.

A job is a function, where its arguments are, and how many blocks it has. The caller writes it down in memory that all threads
look at, and takes blocks as they do, each the next one that is left. `ticket` is the number of the job, and that of the block
in its lower half, in one word: who changes it from what it was has the block, and knows that the job was the same all the
while. So a thread that comes late takes nothing, and nobody waits for it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ....graph.ops.rooms import BLOCK
from ....graph.parallel import give_threads, take_threads
from .compiling import compiler, keep_forever
from .frame import address_of, in_lines, pointer

#: How often a thread looks for a job, or for the end of others' blocks, without letting others run: for about 0.1 ms.
PATIENCE = 4000
#: How often it then looks for a job, letting others run each time, before it sleeps: for about a millisecond. Then to wake it
#: takes the caller 8 µs, and it begins 20 to 40 µs later.
LOOKS = 2000
#: So many jobs that are not long do not wake threads that sleep: after them more will follow.
SKIPS = 2
#: Where things lie in the memory of the pool. What different threads write is in lines of the cache of their own.
_PLACES = {
    "ticket": 0, "finished": 64, "function": 128, "arguments": 136, "count": 144, "helpers": 152, "skipped": 160,
    "sleepers": 192, "mutex": 256, "condition": 384,
}  # fmt: skip
_SIZE, _LINE = 512, 64
#: A ticket with this block has none left.
_NONE = 0xFFFFFFFF
#: What lets another thread of the same core work for a moment, by the kind of processor, and how it is declared.
_PAUSES = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32 immarg)"),
}

#: Runs all blocks; the caller's thread is number 0. What is not long wakes threads that sleep only where others like it
#: were before.
_RUN = """
define void @run_blocks(ptr %function, ptr %arguments, i64 %count, i64 %helpers, i1 %long) #0 {{
entry:
  %asleep = load atomic i64, ptr {sleepers} seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  %short = xor i1 %long, true
  %lone = and i1 %any, %short
  %none = icmp eq i64 %helpers, 0
  br i1 %none, label %each, label %ask
ask:
  br i1 %lone, label %skip, label %publish
skip:
  %skipped = load atomic i64, ptr {skipped} monotonic, align 8
  %skipped.next = add i64 %skipped, 1
  store atomic i64 %skipped.next, ptr {skipped} monotonic, align 8
  %enough = icmp ugt i64 %skipped.next, {skips}
  br i1 %enough, label %publish, label %each
each:
  %block = phi i64 [ 0, %entry ], [ 0, %skip ], [ %block.next, %each ]
  call void %function(ptr %arguments, i64 %block, i64 0)
  %block.next = add i64 %block, 1
  %more = icmp ult i64 %block.next, %count
  br i1 %more, label %each, label %end
publish:
  %before = load atomic i64, ptr {ticket} monotonic, align 8
  %number = lshr i64 %before, 32
  %number.next = add i64 %number, 1
  %job = shl i64 %number.next, 32
  %closed = or i64 %job, {none}
  %was = atomicrmw xchg ptr {ticket}, i64 %closed seq_cst
  %function.int = ptrtoint ptr %function to i64
  %arguments.int = ptrtoint ptr %arguments to i64
  store atomic i64 %function.int, ptr {function} monotonic, align 8
  store atomic i64 %arguments.int, ptr {arguments} monotonic, align 8
  store atomic i64 %count, ptr {count} monotonic, align 8
  store atomic i64 %helpers, ptr {helpers} monotonic, align 8
  store atomic i64 0, ptr {finished} monotonic, align 8
  %opened = atomicrmw xchg ptr {ticket}, i64 %job seq_cst
  %asleep.now = load atomic i64, ptr {sleepers} seq_cst, align 8
  %any.now = icmp ne i64 %asleep.now, 0
  br i1 %any.now, label %wake, label %work
wake:
  store atomic i64 0, ptr {skipped} monotonic, align 8
  %locked = call i32 {pthread_mutex_lock}(ptr {mutex})
  %woken = call i32 {pthread_cond_broadcast}(ptr {condition})
  %unlocked = call i32 {pthread_mutex_unlock}(ptr {mutex})
  br label %work
work:
  %own = phi i64 [ 0, %publish ], [ 0, %wake ], [ %own, %take ], [ %own.next, %got ]
  %ticket = load atomic i64, ptr {ticket} acquire, align 8
  %next = and i64 %ticket, {none}
  %left = icmp ult i64 %next, %count
  br i1 %left, label %take, label %look
take:
  %ticket.next = add i64 %ticket, 1
  %pair = cmpxchg ptr {ticket}, i64 %ticket, i64 %ticket.next acq_rel monotonic
  %taken = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %taken, label %got, label %work
got:
  call void %function(ptr %arguments, i64 %next, i64 0)
  %own.next = add i64 %own, 1
  br label %work
look:
  %looks = phi i64 [ 0, %work ], [ %looks.next, %pause ], [ 0, %yield ]
  %finished = load atomic i64, ptr {finished} acquire, align 8
  %total = add i64 %finished, %own
  %all = icmp eq i64 %total, %count
  br i1 %all, label %end, label %pause
pause:
  {pause}
  %looks.next = add i64 %looks, 1
  %patient = icmp ult i64 %looks.next, {patience}
  br i1 %patient, label %look, label %yield
yield:
  %yielded = call i32 {sched_yield}()
  br label %look
end:
  ret void
}}
attributes #0 = {{ nounwind }}
"""

#: What a helper does, whose number it is given, as long as the process lives.
_SERVE = """
define ptr @region(ptr %self, ptr %args, i64 %given) #0 {{
entry:
  %first = load ptr, ptr %args, align 8
  %index = call i64 {PyLong_AsSsize_t}(ptr %first)
  %thread = add i64 %index, 1
  %state = call ptr {PyEval_SaveThread}()
  br label %look
look:
  %looks = phi i64 [ 0, %entry ], [ %looks.next, %pause ], [ %looks.next, %yield ], [ 0, %take ], [ 0, %got ], [ 0, %rest ]
  %ticket = load atomic i64, ptr {ticket} acquire, align 8
  %next = and i64 %ticket, {none}
  %function.int = load atomic i64, ptr {function} monotonic, align 8
  %arguments.int = load atomic i64, ptr {arguments} monotonic, align 8
  %count = load atomic i64, ptr {count} monotonic, align 8
  %helpers = load atomic i64, ptr {helpers} monotonic, align 8
  %left = icmp ult i64 %next, %count
  %wanted = icmp ult i64 %index, %helpers
  %some = and i1 %left, %wanted
  br i1 %some, label %take, label %none
take:
  %ticket.next = add i64 %ticket, 1
  %pair = cmpxchg ptr {ticket}, i64 %ticket, i64 %ticket.next acq_rel monotonic
  %taken = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %taken, label %got, label %look
got:
  %function = inttoptr i64 %function.int to ptr
  %arguments = inttoptr i64 %arguments.int to ptr
  call void %function(ptr %arguments, i64 %next, i64 %thread)
  %before = atomicrmw add ptr {finished}, i64 1 acq_rel
  br label %look
none:
  %looks.next = add i64 %looks, 1
  %patient = icmp ult i64 %looks.next, {patience}
  br i1 %patient, label %pause, label %impatient
pause:
  {pause}
  br label %look
impatient:
  %awake = icmp ult i64 %looks.next, {looks}
  br i1 %awake, label %yield, label %sleep
yield:
  %yielded = call i32 {sched_yield}()
  br label %look
sleep:
  %locked = call i32 {pthread_mutex_lock}(ptr {mutex})
  %more = atomicrmw add ptr {sleepers}, i64 1 seq_cst
  %ticket.now = load atomic i64, ptr {ticket} seq_cst, align 8
  %same = icmp eq i64 %ticket.now, %ticket
  br i1 %same, label %wait, label %rest
wait:
  %waited = call i32 {pthread_cond_wait}(ptr {condition}, ptr {mutex})
  br label %rest
rest:
  %fewer = atomicrmw sub ptr {sleepers}, i64 1 seq_cst
  %unlocked = call i32 {pthread_mutex_unlock}(ptr {mutex})
  br label %look
}}
attributes #0 = {{ nounwind }}
"""


def pool_library() -> dict[str, str]:
    """What functions with blocks call: texts by name."""
    return {"run_blocks": _written(_RUN, _pool().start)}


def borrow() -> int:
    """How many threads may help the caller now: nobody else has them until `give_back`, unless there are none."""
    wanted = take_threads()
    if not wanted:
        return 0
    found = 0
    try:
        found = _pool().ready(wanted)
    finally:
        if not found:
            give_threads()
    return found


#: To be called after a `borrow` that was not in vain.
give_back = give_threads


def in_threads(
    native: Any, arrays: Sequence[Any], result: Any, room_bytes: int | None = None, shared: bool = True
) -> bool:
    """Whether a function took the arrays, one of which is its result.

    `room_bytes`: how much memory it has for each thread, if it asks where that is. `shared`: other threads may help, else
    it does its blocks in order.
    """
    helpers = borrow() if shared else 0
    try:
        if room_bytes is None:
            return native(*arrays, helpers) is result
        room = BLOCK.array(((helpers + 1) * in_lines(room_bytes),), np.dtype(np.uint8))
        return native(*arrays, helpers, room.ctypes.data) is result
    finally:
        if helpers:
            give_back()


class _Pool:
    """The memory that jobs are written down in, and the threads that look at it."""

    def __init__(self) -> None:
        self._memory = ctypes.create_string_buffer(_SIZE + _LINE)
        keep_forever(self._memory)  # for threads that look at it when the interpreter ends
        start = ctypes.addressof(self._memory)
        #: Where it begins.
        self.start = start + -start % _LINE
        self._count = 0
        self._clear()
        os.register_at_fork(after_in_child=self._clear)

    def _clear(self) -> None:
        """Nothing to do, and nobody to do it: also in a forked process, which has none of the threads."""
        self._count = 0
        ctypes.memset(self.start, 0, _SIZE)
        ctypes.c_uint64.from_address(self.start + _PLACES["ticket"]).value = _NONE
        system = ctypes.CDLL(None)
        system.pthread_mutex_init(ctypes.c_void_p(self.start + _PLACES["mutex"]), None)
        system.pthread_cond_init(ctypes.c_void_p(self.start + _PLACES["condition"]), None)

    def ready(self, wanted: int) -> int:
        """How many threads there are, of so many that are wanted; those that are missing are made."""
        if self._count < wanted:
            serve = compiler().function(_written(_SERVE, self.start))
            try:
                while self._count < wanted:
                    name = f"weft-compiled-{self._count + 1}"
                    threading.Thread(target=serve, args=(self._count,), daemon=True, name=name).start()
                    self._count += 1
            except RuntimeError:  # no more threads, or the interpreter is ending: with those that there are
                wanted = self._count
        return wanted


@cache
def _pool() -> _Pool:
    """The one of this process."""
    return _Pool()


def _written(text: str, start: int) -> str:
    """A text with the addresses of what it uses."""
    places = {name: pointer(start + offset) for name, offset in _PLACES.items()}
    python = {name: pointer(address_of(name)) for name in ("PyLong_AsSsize_t", "PyEval_SaveThread")}
    system = ctypes.CDLL(None)
    names = ("mutex_lock", "mutex_unlock", "cond_wait", "cond_broadcast")
    functions = {
        name: pointer(ctypes.cast(getattr(system, name), ctypes.c_void_p).value or 0)
        for name in ("sched_yield", *(f"pthread_{name}" for name in names))
    }
    pause, declared = _PAUSES.get(platform.machine(), ("", ""))
    text += declared
    return text.format(
        **places, **python, **functions, none=_NONE, looks=PATIENCE + LOOKS, patience=PATIENCE, skips=SKIPS, pause=pause
    )
