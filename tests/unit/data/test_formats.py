"""Every form in which the data sets are kept decodes to the same arrays; damaged files end in one line."""

import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image

from sibp.data import DataError
from sibp.data.formats import LAYOUTS, decode
from tests.unit.data import rawfiles


def npy(name: str) -> dict[str, bytes]:
    files = {}
    for key, array in rawfiles.arrays(name).items():
        stream = io.BytesIO()
        np.save(stream, array)
        files[f"{key}.npy"] = stream.getvalue()
    return files


FORMS = {
    ("mnist", "idx"): lambda: rawfiles.idx("mnist"),
    ("mnist", "npy"): lambda: npy("mnist"),
    ("cifar10", "npy"): lambda: npy("cifar10"),
    ("cifar10", "cifar-binary"): rawfiles.cifar_binary,
    ("cifar10", "cifar-python"): rawfiles.cifar_python,
    ("cifar10", "cifar-png"): rawfiles.cifar_png,
}


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_form_decodes_to_the_same_arrays(tiny, name, form):
    found = decode(tiny[name], LAYOUTS[form], FORMS[name, form]())
    for key, array in rawfiles.arrays(name).items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_damaged_files_end_in_one_line(tiny, name, form, damage):
    files = FORMS[name, form]()
    for file, data in files.items():
        noise = np.random.default_rng(0).bytes(len(data))
        bad = {"truncated": data[: len(data) // 2], "empty": b"", "noise": noise}[damage]
        with pytest.raises(DataError) as caught:
            decode(tiny[name], LAYOUTS[form], files | {file: bad})
        assert "\n" not in str(caught.value)


def test_the_pickle_of_the_test_is_what_python_2_wrote():
    batch = rawfiles.unpickled(rawfiles.cifar_python()["data_batch_2"])
    np.testing.assert_array_equal(batch[b"data"].reshape(-1, 3, 32, 32), rawfiles.arrays("cifar10")["train_images"][2:4])
    assert batch[b"labels"] == rawfiles.arrays("cifar10")["train_labels"][2:4].tolist()


def test_a_hostile_pickle_is_read_but_never_run(tiny, tmp_path):
    """The same pickle with a call of os.system before it: unpickling it would leave a file."""
    files, trace = rawfiles.cifar_python(), tmp_path / "was_here"
    attack = b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR0"
    for name, data in files.items():
        files[name] = data[:2] + attack + data[2:]
    rawfiles.unpickled(files["data_batch_1"])
    assert trace.exists()  # the attack is a working one
    trace.unlink()
    decode(tiny["cifar10"], LAYOUTS["cifar-python"], files)
    assert not trace.exists()


def test_an_object_array_is_not_loaded(tiny):
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"train_images.npy: not uint8"):
        decode(tiny["mnist"], LAYOUTS["npy"], npy("mnist") | {"train_images.npy": stream.getvalue()})


def test_a_png_of_absurd_size_is_refused_before_room_is_made_for_it(tiny):
    files = rawfiles.cifar_png()
    picture = bytearray(files["data_batch_1.png"])
    picture[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    with pytest.raises(DataError, match=r"data_batch_1.png: 2147483647 x 2147483647 pixels, need 1024"):
        decode(tiny["cifar10"], LAYOUTS["cifar-png"], files | {"data_batch_1.png": bytes(picture)})


def test_a_grey_png_is_refused(tiny):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((2, 1024), np.uint8)).save(stream, "PNG")
    with pytest.raises(DataError, match=r"data_batch_3.png: not RGB"):
        decode(tiny["cifar10"], LAYOUTS["cifar-png"], rawfiles.cifar_png() | {"data_batch_3.png": stream.getvalue()})


@pytest.mark.parametrize("labels", [b"[" * 100_000, b'{"a": 1}', b"[1, 300]", b"[1, -1]", b'["1"]', b"[1.5]"])
def test_labels_that_are_no_list_of_bytes_are_refused(tiny, labels):
    with pytest.raises(DataError):
        decode(tiny["cifar10"], LAYOUTS["cifar-png"], rawfiles.cifar_png() | {"train_lables.json": labels})


def test_a_header_that_promises_too_much_is_called_truncated(tiny):
    data = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(100)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: truncated, 100 bytes of data, need 3367254359280"):
        decode(tiny["mnist"], LAYOUTS["idx"], rawfiles.idx("mnist") | {"train-images-idx3-ubyte": data})


def test_zipped_data_where_raw_data_is_due_is_told(tiny):
    files = rawfiles.idx("mnist")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: not idx1 data"):
        decode(tiny["mnist"], LAYOUTS["idx"], files | {"t10k-labels-idx1-ubyte": gzip.compress(b"x")})
