"""Result files: whole or absent, readable again, each with its record and the roles of its columns."""

import subprocess
import sys

import pandas as pd
import pytest
from pyarrow import parquet

from sibp.results import records
from sibp.results.records import RecordError, Role
from tests.unit.tiny import as_run

RECORD = {"seeds": [0], "note": "é"}


@pytest.fixture
def rows():
    row = {"exhibit": "tiny", "method": "sgd", "algorithm": "sgd", "seed": 0, "eta": 0.1}
    row |= {"epoch": 1.0, "step": 3, "samples": 60, "seconds": 0.5, "train_loss": float("nan")}
    return pd.DataFrame([{**row, "member": i, "status": status} for i, status in enumerate(records.STATUSES)])


@pytest.fixture
def path(tmp_path, rows):
    records.write(tmp_path / "tiny" / "sgd.parquet", as_run(rows, RECORD))
    return tmp_path / "tiny" / "sgd.parquet"


def test_what_is_written_is_read_back_from_one_file(path, rows):
    run = records.read(path)
    pd.testing.assert_frame_equal(run.rows, rows, check_dtype=False)
    assert run.record == records.read_record(path) == RECORD
    assert [file.name for file in path.parent.iterdir()] == ["sgd.parquet"]


def test_roles_are_the_fields_own_wherever_a_column_stands(tmp_path, rows):
    records.write(tmp_path / "a.parquet", as_run(rows[rows.columns[::-1]]))
    run = records.read(tmp_path / "a.parquet")
    assert run.columns(Role.setting) == ["eta"] and run.columns(Role.metric) == ["train_loss"]
    assert run.columns(Role.seed) == ["member", "seed"] and run.columns(Role.position) == ["samples", "step", "epoch"]
    stored = {field.name: field.metadata[b"role"] for field in parquet.read_schema(tmp_path / "a.parquet")}
    assert stored["eta"] == b"setting" and stored["status"] == b"status" and stored["seconds"] == b"clock"


@pytest.mark.parametrize("kept", [0, 4, 0.5, -1])
def test_a_file_cut_anywhere_gets_one_line(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    for read in (records.read, records.read_record):
        with pytest.raises(RecordError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_table_without_a_record_or_without_roles_gets_one_line(tmp_path, rows):
    path = tmp_path / "a.parquet"
    rows.to_parquet(path)
    with pytest.raises(RecordError, match=r"a\.parquet: holds no record of a run$"):
        records.read(path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(RecordError, match=r"holds no record of a run; `make reference FROM=FOLDER` takes it$"):
        records.read(path)
    table = parquet.read_table(path).replace_schema_metadata({records.RECORD: b"{}"})
    parquet.write_table(table, path)
    with pytest.raises(RecordError, match=r"a\.parquet: the column exhibit has no role"):
        records.read(path)


def test_rows_without_a_column_or_with_an_unknown_status_are_refused(tmp_path, rows):
    with pytest.raises(RecordError, match="lacks the columns seed, step"):
        records.write(tmp_path / "a.parquet", as_run(rows.drop(columns=["seed", "step"])))
    with pytest.raises(RecordError, match="status: got 'finished', need one of running, done"):
        records.write(tmp_path / "a.parquet", as_run(rows.assign(status="finished")))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_gets_one_line(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/tiny"):
        records.write(tmp_path / "file" / "tiny" / "sgd.parquet", as_run(rows))


def test_records_are_read_without_torch():
    code = "import sys; import sibp.results.records, sibp.results.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
