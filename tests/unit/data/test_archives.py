"""Files and archives of unknown intent: bombs, paths that lead elsewhere, pages instead of data."""

import gzip
import io
import tarfile

import pytest

from sibp.data import DataError
from sibp.data.archives import read_archive, read_folder
from tests.unit.data.rawfiles import tar, write

LIMIT = 2**20


def test_files_are_read_plain_or_zipped(tmp_path):
    write(tmp_path, {"a": b"first"})
    write(tmp_path, {"b": b"second"}, zipped=True)
    assert read_folder(tmp_path, ["a", "b"], LIMIT) == {"a": b"first", "b": b"second"}


def test_a_folder_without_any_file_is_no_error_but_one_with_some_is(tmp_path):
    assert read_folder(tmp_path, ["a", "b"], LIMIT) is None
    write(tmp_path, {"a": b""})
    with pytest.raises(DataError, match=r"^b: not found"):
        read_folder(tmp_path, ["a", "b"], LIMIT)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>moved", b"\n  <html lang=en>", b"<?xml version='1.0'?><Error/>"])
def test_a_web_page_instead_of_data_is_told(tmp_path, page):
    write(tmp_path, {"a.gz": page})
    with pytest.raises(DataError, match=r"^a.gz: an HTML page instead of data$"):
        read_folder(tmp_path, ["a"], LIMIT)


def test_a_gzip_bomb_ends_at_the_limit(tmp_path):
    write(tmp_path, {"a": bytes(64 * LIMIT)}, zipped=True)
    with pytest.raises(DataError, match=r"^a.gz: expands to more than 1048576 bytes$"):
        read_folder(tmp_path, ["a"], LIMIT)


def test_a_bomb_inside_an_archive_ends_at_the_limit(tmp_path):
    inner = gzip.compress(bytes(64 * LIMIT))
    write(tmp_path, {"x.tgz": tar({"a.gz": inner}, "in"), "y.tgz": tar({"big": bytes(64 * LIMIT), "a": b"1"}, "in")})
    for archive in ("x.tgz", "y.tgz"):
        with pytest.raises(DataError, match="expands to more than 1048576 bytes"):
            read_archive(tmp_path / archive, "in", ["a"], LIMIT)


@pytest.mark.parametrize("cut", [20, 200, -10])
def test_a_truncated_archive_is_told(tmp_path, cut):
    data = tar({"a": bytes(range(256)) * 40, "b": bytes(range(255, -1, -1)) * 40}, "in")
    write(tmp_path, {"x.tgz": data[:cut]})
    with pytest.raises(DataError, match=r"^x.tgz: truncated$"):
        read_archive(tmp_path / "x.tgz", "in", ["a", "b"], LIMIT)


def test_bytes_that_are_no_archive_are_told(tmp_path):
    write(tmp_path, {"x.tgz": b"no archive at all" * 100})
    with pytest.raises(DataError, match=r"^x.tgz: damaged"):
        read_archive(tmp_path / "x.tgz", "in", ["a"], LIMIT)


@pytest.mark.parametrize("path", ["../a", "/a", "in/../a", "in/../in/a", "other/a"])
def test_only_the_exact_member_is_read_and_nothing_reaches_the_disk(tmp_path, path):
    folder, name = path.rsplit("/", 1)
    write(tmp_path / "box", {"x.tgz": tar({name: b"evil"}, folder)})
    with pytest.raises(DataError, match="no member in/a"):
        read_archive(tmp_path / "box" / "x.tgz", "in", ["a"], LIMIT)
    assert [p.name for p in tmp_path.rglob("*")] == ["box", "x.tgz"]


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo("in/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    write(tmp_path, {"x.tgz": stream.getvalue()})
    with pytest.raises(DataError, match="no member in/a"):
        read_archive(tmp_path / "x.tgz", "in", ["a"], LIMIT)


def test_the_first_of_two_members_of_one_name_counts_and_zipped_members_are_unzipped(tmp_path):
    write(tmp_path, {"x.tgz": tar({"a.gz": gzip.compress(b"one"), "a": b"two", "b": b"three"}, "./in")})
    assert read_archive(tmp_path / "x.tgz", "in", ["a", "b"], LIMIT) == {"a": b"one", "b": b"three"}
