"""What travels to a machine without a network with which call, and data sets in pieces."""

import numpy as np
import pytest

from sibp import data
from sibp.data import dataset as data_set
from sibp.data import registry
from tools.offline_gpu import calls, data_chunks, import_runs


def test_files_go_in_turns_none_of_which_is_over_the_budget():
    sizes = {"run.py": 3, "a": 5, "b": 5, "c": 9, "d": 1}
    assert calls.in_turns(sizes, 10) == [["run.py", "a"], ["b"], ["c", "d"]]
    with pytest.raises(SystemExit, match=r"budget: got .* need at least .* for c"):
        calls.in_turns(sizes, 8)


def test_the_program_goes_first_then_data_as_jobs_need_them_and_what_was_unpacked_stays(tmp_path):
    for name in ("run.py", "plan.json", "site/x.py", "data/mnist/0.xz", "data/cifar10/0.xz", "data/fashion-mnist/0.xz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    jobs = [{"data": "mnist"}, {"data": None}, {"data": "cifar10"}, {"data": "mnist"}]
    sizes = calls.sizes_in_order(tmp_path, jobs)
    assert list(sizes) == ["plan.json", "run.py", "data/mnist/0.xz", "data/cifar10/0.xz"]
    calls.lay_out(tmp_path, calls.in_turns(sizes, 40), tmp_path / "calls")
    laid = [path.relative_to(tmp_path / "calls").as_posix() for path in sorted((tmp_path / "calls").rglob("*")) if path.is_file()]
    assert laid == ["1/data/mnist/0.xz", "1/plan.json", "1/run.py", "2/data/cifar10/0.xz"]


@pytest.fixture
def packed(tmp_path):
    """A little data set of colour images in pieces, and its entry of the registry."""
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (8, 3, 16, 16), np.uint8), np.arange(8, dtype=np.uint8)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:2].copy(), "test_labels": labels[:2].copy()}
    specs = {name: registry.ArraySpec(array.shape, data_set.digest(array)) for name, array in arrays.items()}
    entry = registry.Entry("toy", "Toy", (), (), registry.Package("npm", "none", ".", "none"), specs)
    dataset = data_set.Dataset("toy", **arrays, hashes=entry.hashes, source="drawn", classes=())
    return entry, dataset, data_chunks.pack(dataset, tmp_path / "toy", 4096), tmp_path


def test_pieces_are_small_and_give_the_same_pixels(packed):
    entry, dataset, listed, folder = packed
    assert [name for name in listed if name.startswith("train_images")] == ["train_images.0.xz", "train_images.1.xz"]
    read = data_chunks.Chunks(folder).read(entry, folder, lambda text: None)
    assert all(np.array_equal(read[name], getattr(dataset, name)) for name in data_chunks.ARRAYS)


def test_pieces_that_are_there_are_not_written_again(packed):
    _, dataset, listed, folder = packed
    before = (folder / "toy/train_images.0.xz").stat().st_mtime_ns
    assert data_chunks.pack(dataset, folder / "toy", 4096) == listed
    assert (folder / "toy/train_images.0.xz").stat().st_mtime_ns == before


def test_a_piece_that_is_missing_or_damaged_is_named(packed):
    entry, _, _, folder = packed
    piece = folder / "toy/train_images.1.xz"
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(data.DataError, match=r"train_images\.1\.xz is cut short or changed"):
        data_chunks.Chunks(folder).read(entry, folder, lambda text: None)
    assert data_chunks.Chunks(folder).missing("toy") == []  # damage is no reason to wait
    piece.unlink()
    assert data_chunks.Chunks(folder).missing("toy") == ["train_images.1.xz"]
    assert data_chunks.Chunks(folder).missing("other") == ["pieces.json"]
    with pytest.raises(data.DataError, match=r"lacks train_images\.1\.xz"):
        data_chunks.Chunks(folder).read(entry, folder, lambda text: None)


def test_an_imported_run_takes_the_place_of_its_own_checkpoints_and_of_no_others(tmp_path):
    for name in ("sgd.pt", "sgd.pt.before", "sgd-full.pt", "sgd.1of2.pt"):
        (tmp_path / name).touch()
    assert import_runs.put(tmp_path / "sgd.parquet", b"a run")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sgd-full.pt", "sgd.1of2.pt", "sgd.parquet"]
