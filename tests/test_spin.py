"""Who looks for what is to come, and gives way meanwhile: only where the last wait was short."""

import os
import select
import time

import pytest
from weft.cluster.reading.spin import Spin


def test_who_waited_long_the_last_time_sleeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gave = []
    monkeypatch.setattr(os, "sched_yield", lambda: gave.append(1))
    reader, writer = os.pipe()
    ready = select.epoll()
    try:
        ready.register(reader, select.EPOLLIN)
        os.write(writer, b"x")
        spin = Spin(ready, 10.0)
        assert spin.look(None)
        spin.over()
        spin.give_way()
        assert len(gave) == 1, "what was looked for was there at once"
        os.read(reader, 1)
        spin = Spin(ready, 1e-3)
        assert not spin.look(None)
        time.sleep(2e-3)
        spin.over()
        gave.clear()
        spin.give_way()
        assert not spin.look(None)
        assert not gave, "it came late, so nobody looks or gives way the next time"
    finally:
        ready.close()
        os.close(reader)
        os.close(writer)
