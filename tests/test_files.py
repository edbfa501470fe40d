"""Files are written whole or not at all, and looked up in four places in turn."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas import files
from nas.errors import DiskFullError, NasError, RunFolderError
from nas.files import atomic_path, search_folders, shipped_folder, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_text_makes_the_folder_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "deep" / "file.txt"
    write_text(path, "über\n")
    assert path.read_bytes() == "über\n".encode()
    assert names(path.parent) == ["file.txt"]


def test_write_text_replaces_a_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old and much longer")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "file.txt", "x")
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644


def test_an_error_keeps_the_old_file_and_removes_the_temporary_one(tmp_path):
    folder = tmp_path / "out"
    write_text(folder / "file.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(folder / "file.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (folder / "file.txt").read_text() == "old"
    assert names(folder) == ["file.txt"]


def test_the_file_is_not_there_before_it_is_complete(tmp_path):
    folder = tmp_path / "out"
    with atomic_path(folder / "file.txt") as temporary:
        temporary.write_text("half")
        assert not (folder / "file.txt").exists()
        assert temporary.parent == folder
    assert (folder / "file.txt").read_text() == "half"


def test_an_error_of_ours_passes_unchanged(tmp_path):
    with pytest.raises(NasError, match="^mine$"), atomic_path(tmp_path / "file.txt"):
        raise NasError("mine")


def test_json_is_indented_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text()
    assert text.startswith('{\n  "b": [') and text.endswith("}\n")
    assert json.loads(text) == {"b": [1, 2.5, None]}


def test_json_with_nan_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "out" / "a.json", {"latency_ms": float("nan")})
    assert not (tmp_path / "out").exists()


FULL = (
    "the disk is full: {path} could not be written, finished files are kept; "
    "try: free some space, then the same command again (nas search: with --resume)"
)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_exit_1(tmp_path, monkeypatch, number):
    folder = tmp_path / "out"
    write_text(folder / "finished.txt", "complete")

    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    path = folder / "file.txt"
    with pytest.raises(DiskFullError) as caught:
        write_text(path, "x")
    assert str(caught.value) == FULL.format(path=path)
    assert caught.value.exit_code == 1
    assert names(folder) == ["finished.txt"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or not mount or not umount or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a tiny file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a tiny file system be mounted")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    write_text(tiny_disk / "finished.txt", "x" * 20_000)
    with pytest.raises(DiskFullError) as caught:
        write_text(tiny_disk / "large.txt", "x" * 200_000)
    assert str(caught.value) == FULL.format(path=tiny_disk / "large.txt")
    assert names(tiny_disk) == ["finished.txt"]
    assert (tiny_disk / "finished.txt").read_text() == "x" * 20_000


def test_a_place_that_is_a_file_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("something else")
    with pytest.raises(RunFolderError) as caught:
        write_text(tmp_path / "taken" / "file.txt", "x")
    assert str(caught.value) == (
        f"{tmp_path / 'taken' / 'file.txt'} cannot be written: File exists; "
        "allowed: a folder that this user may write; try: another place"
    )
    assert caught.value.exit_code == 2


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "out" / "folder").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="cannot be written: Is a directory; allowed: "):
        write_text(tmp_path / "out" / "folder", "x")
    assert names(tmp_path / "out") == ["folder"]


def test_a_refusal_names_its_reason(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(RunFolderError, match="file.txt cannot be written: Permission denied; "):
        write_text(tmp_path / "file.txt", "x")


def test_look_up_goes_from_the_working_folder_to_the_users_to_the_shipped(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "mine"))
    assert search_folders("search_spaces") == [
        Path.cwd() / "search_spaces",
        tmp_path / "mine" / "search_spaces",
        shipped_folder() / "search_spaces",
    ]


def test_user_folders_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "d"))
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "c"))
    assert (files.data_folder(), files.cache_folder()) == (tmp_path / "d", tmp_path / "c")


@pytest.mark.parametrize("value", ["", None])
def test_user_folders_are_where_the_system_keeps_them(monkeypatch, value):
    for name in ("NAS_DATA_DIR", "NAS_CACHE_DIR"):
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert files.data_folder() == Path(files.platformdirs.user_data_dir("nas"))
    assert files.cache_folder() == Path(files.platformdirs.user_cache_dir("nas"))


def test_the_shipped_folder_holds_what_is_shipped():
    assert (shipped_folder() / "search_spaces" / "mobilenetv3.yaml").is_file()
    assert (shipped_folder() / "latency_tables" / "jetson-nano-tensorrt" / "device.yaml").is_file()


def test_an_installed_package_finds_its_own_copy(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "nas"
    (package / "_shipped").mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(package / "files.py"))
    assert shipped_folder() == package / "_shipped"
