"""Result files: whole or absent, readable again, and with everything that a run depends on."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

from sibp.results import records
from sibp.results.records import RecordError

CPU = torch.device("cpu")


@pytest.fixture
def rows():
    row = {"exhibit": "tiny", "method": "sgd", "algorithm": "sgd", "seed": 0, "eta": 0.1}
    row |= {"epoch": 1.0, "step": 3, "samples": 60, "seconds": 0.5, "train_loss": float("nan")}
    return pd.DataFrame([{**row, "member": i, "status": status} for i, status in enumerate(records.STATUSES)])


def test_what_is_written_is_read_back(tmp_path, rows):
    path = records.write_run(tmp_path / "tiny", "sgd", rows, {"seeds": [0]})
    assert path == tmp_path / "tiny" / "sgd.parquet"
    table, provenance = records.read_run(path)
    pd.testing.assert_frame_equal(table, rows, check_dtype=False)
    assert provenance == {"seeds": [0]}


@pytest.mark.parametrize("kept", [0, 4, 0.5, -1])
def test_a_parquet_file_cut_anywhere_gets_one_line(tmp_path, rows, kept):
    path = records.write_run(tmp_path, "sgd", rows, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(RecordError) as caught:
        records.read_run(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_damaged_provenance_gets_one_line(tmp_path, rows):
    path = records.write_run(tmp_path, "sgd", rows, {})
    path.with_suffix(".json").write_text('{"seeds": [')
    with pytest.raises(RecordError, match=r"sgd.json: Expecting value"):
        records.read_run(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(RecordError, match=r"sgd.json: No such file"):
        records.read_run(path)


def test_rows_without_a_column_or_with_an_unknown_status_are_refused(tmp_path, rows):
    with pytest.raises(RecordError, match="lacks the columns seed, step"):
        records.write_run(tmp_path, "sgd", rows.drop(columns=["seed", "step"]), {})
    with pytest.raises(RecordError, match="status: got 'finished', need one of running, done"):
        records.write_run(tmp_path, "sgd", rows.assign(status="finished"), {})
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half(file):
        file.write_text("new but")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.written(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_written_file_has_the_user_s_usual_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        records.written(tmp_path / "a.txt", lambda file: file.write_text("x"))
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_made_gets_one_line(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/tiny: "):
        records.write_run(tmp_path / "file" / "tiny", "sgd", rows, {})


def test_the_environment_names_versions_device_and_commit():
    about = records.environment(CPU)
    assert about["versions"]["torch"] == torch.__version__.split("+")[0] or about["versions"]["torch"] == torch.__version__
    assert about["device"]
    assert about["started"].endswith("+00:00")
    assert json.loads(json.dumps(about)) == about
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    assert about["git"] is None or about["git"]["commit"] == head.stdout.strip()


def test_peak_memory_counts_bytes():
    assert 2**27 < records.peak_memory(CPU) < 2**37  # torch alone takes more than 128 MiB


def test_a_file_that_another_process_is_just_writing_is_left_alone(tmp_path):
    path = tmp_path / "sibp.pt"

    def write(file):
        file.write_bytes(b"checkpoint")
        records.sweep(path)  # as another run's start in the same folder does

    records.written(path, write)
    assert path.read_bytes() == b"checkpoint"
    assert os.listdir(tmp_path) == ["sibp.pt"]


def test_what_a_killed_process_has_left_is_swept(tmp_path):
    path = tmp_path / "sibp.pt"
    code = f"""
import os, signal
from pathlib import Path
from sibp.results import records
records.written(Path({str(path)!r}), lambda file: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    records.sweep(path)
    assert os.listdir(tmp_path) == []


def test_a_file_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    path, plain = tmp_path / "a.txt", records.tempfile.mkstemp
    made = []

    def mkstemp(**options):
        made.append(plain(**options))
        if len(made) == 1:
            records.sweep(path)
        return made[-1]

    monkeypatch.setattr(records.tempfile, "mkstemp", mkstemp)
    records.written(path, lambda file: file.write_text("x"))
    assert path.read_text() == "x" and len(made) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_memory_of_a_job_is_not_that_of_the_one_before_in_the_same_process():
    large = torch.ones(2**26)  # 256 MiB
    before = records.peak_memory(CPU)
    del large
    records.reset_peak_memory(CPU)
    assert records.peak_memory(CPU) < before - 2**27
