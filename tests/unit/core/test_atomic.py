"""Files that appear whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from sibp.core import atomic


def test_text_bytes_and_what_fills_a_file_are_written_in_folders_that_are_made(tmp_path):
    for content in ("é", "é".encode(), lambda file: file.write("é".encode())):
        path = tmp_path / "new" / "a.txt"
        atomic.write(path, content)
        assert path.read_bytes() == b"\xc3\xa9" and os.listdir(path.parent) == ["a.txt"]
        path.unlink()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half(file):
        file.write(b"new but")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, flushed = tmp_path / "a.txt", []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append((os.pread(handle, 9, 0), path.exists())))
    atomic.write(path, "whole")
    assert flushed == [(b"whole", False)]


def test_a_written_file_has_the_user_s_usual_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        atomic.write(tmp_path / "a.txt", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_that_another_process_is_just_writing_is_left_alone(tmp_path):
    path = tmp_path / "sibp.pt"

    def fill(file):
        file.write(b"checkpoint")
        atomic.sweep(path)  # as another run's start in the same folder does

    atomic.write(path, fill)
    assert path.read_bytes() == b"checkpoint"
    assert os.listdir(tmp_path) == ["sibp.pt"]


def test_what_a_killed_process_has_left_is_swept(tmp_path):
    path = tmp_path / "sibp.pt"
    code = f"""
import os, signal
from pathlib import Path
from sibp.core import atomic
atomic.write(Path({str(path)!r}), lambda file: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    atomic.sweep(path)
    assert os.listdir(tmp_path) == []


def test_a_file_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    path, plain = tmp_path / "a.txt", atomic.tempfile.mkstemp
    made = []

    def mkstemp(**options):
        made.append(plain(**options))
        if len(made) == 1:
            atomic.sweep(path)
        return made[-1]

    monkeypatch.setattr(atomic.tempfile, "mkstemp", mkstemp)
    atomic.write(path, "x")
    assert path.read_text() == "x" and len(made) == 2
