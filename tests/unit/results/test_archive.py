"""Experiments as the repository keeps them: one file each, from which every run comes back."""

import math

import pandas as pd
import pytest

from sibp.results import archive, records
from tests.unit.tiny import as_run, long_table

ROWS = long_table({(0.1, 0): [0.1, 0.9]})


def test_runs_come_back_with_their_rows_and_records(tmp_path):
    for label in ("sgd", "slow"):
        run = as_run(ROWS.assign(method=label), {"method": label, "seeds": [0]})
        records.write(tmp_path / "runs/x" / f"{label}.parquet", run)
    archive.pack(tmp_path / "runs", tmp_path / "kept")
    assert archive.unpack(tmp_path / "kept", tmp_path / "again") == ["x"]
    for label in ("sgd", "slow"):
        run, again = (records.read(tmp_path / folder / "x" / f"{label}.parquet") for folder in ("runs", "again"))
        pd.testing.assert_frame_equal(again.rows, run.rows, check_exact=False, rtol=1e-7)
        assert again.record == run.record and again.roles == run.roles


def test_a_number_beyond_float32_does_not_become_infinite(tmp_path):
    rows = ROWS.assign(train_loss=[0.5, 1e60], test_loss=[0.5, math.inf])
    records.write(tmp_path / "runs/x/sgd.parquet", as_run(rows, {"method": "sgd", "seeds": [0]}))
    archive.pack(tmp_path / "runs", tmp_path / "kept")
    again = archive.read(tmp_path / "kept/x.parquet")["sgd"].rows
    assert again["train_loss"].tolist() == pytest.approx([0.5, 1e60], rel=1e-7) and again["test_loss"].tolist() == [0.5, math.inf]


def test_a_file_whose_name_is_not_its_label_is_refused(tmp_path):
    for name in ("sgd", "sgd.1of2"):
        records.write(tmp_path / "runs/x" / f"{name}.parquet", as_run(ROWS, {"method": "sgd"}))
    with pytest.raises(records.RecordError, match=r"sgd\.1of2\.parquet: holds a run of sgd, need a file named sgd\.parquet$"):
        archive.pack(tmp_path / "runs", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
