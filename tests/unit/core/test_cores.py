"""How many cores this process may use."""

import os

from sibp.core import cores


def test_the_cores_are_those_left_to_the_process_or_where_nobody_tells_the_machine_s(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert cores.count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores.count() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.count() == 1
