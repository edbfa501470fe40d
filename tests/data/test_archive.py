"""Archives: the same data set as the folder; hostile and damaged ones leave nothing behind."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.data import load_dataset, scan
from nas.errors import DataError, DiskFullError

_TAR_MODES = {
    ".tar": "w",
    ".tar.gz": "w:gz",
    ".tgz": "w:gz",
    ".tar.xz": "w:xz",
    ".tar.bz2": "w:bz2",
}


def _pack(folder: Path, suffix: str, top: str = ".") -> Path:
    target = folder.parent / f"packed{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, Path(top) / file.relative_to(folder))
    else:
        with tarfile.open(target, _TAR_MODES[suffix]) as archive:  # type: ignore[call-overload]
            archive.add(folder, arcname=top)
    return target


def _refused(path: Path, cache: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    assert list((cache / "archives").iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".zip", *_TAR_MODES])
def test_an_archive_is_the_same_data_set_as_its_folder(
    pets: Path, cache: Path, suffix: str
) -> None:
    (pets / "train" / "notes.txt").write_text("not unpacked")
    index = scan(_pack(pets, suffix), 0)
    assert index.name == "packed"
    assert index.fingerprint == scan(pets, 0).fingerprint
    (unpacked,) = (cache / "archives").iterdir()
    assert list(unpacked.rglob("000.png"))
    assert not list(unpacked.rglob("notes.txt"))


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_single_top_folder_is_passed(pets: Path, suffix: str) -> None:
    index = scan(_pack(pets, suffix, top="pets-1.0"), 0)
    assert index.fingerprint == scan(pets, 0).fingerprint


def test_an_archive_is_unpacked_once(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = _pack(pets, ".zip")
    first = load_dataset(packed, 0, resolutions=[8])
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert load_dataset(packed, 0, resolutions=[8]).fingerprint == first.fingerprint


def _tar_of(path: Path, info: tarfile.TarInfo, content: bytes = b"") -> Path:
    info.size = len(content)
    with tarfile.open(path, "w") as archive:
        archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.png", "would land outside of the folder"),
        ("train/../../evil.png", "would land outside of the folder"),
        ("..\\evil.png", "would land outside of the folder"),
        ("/tmp/evil.png", "has an absolute name"),
        ("C:\\evil.png", "has an absolute name"),
    ],
)
def test_names_that_leave_the_folder(tmp_path: Path, cache: Path, name: str, why: str) -> None:
    tar = _tar_of(tmp_path / "evil.tar", tarfile.TarInfo(name), b"x")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, b"x")
    for path in (tar, tmp_path / "evil.zip"):
        assert _refused(path, cache) == (
            f"an archive holds files and folders below its top; in {path} {name!r} {why}; "
            "allowed: plain files and folders with relative names; "
            "try: unpack it yourself and pass the folder"
        )
    assert not (cache / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, cache: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("train/cat/a.png")
    info.type, info.linkname = kind, "/etc/passwd"
    text = _refused(_tar_of(tmp_path / "evil.tar", info), cache)
    assert "'train/cat/a.png' is a link or a device" in text


def test_links_in_a_zip(tmp_path: Path, cache: Path) -> None:
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "'a.png' is a link or a device" in _refused(tmp_path / "evil.zip", cache)


def test_a_member_that_is_both_file_and_folder(tmp_path: Path, cache: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("a.png", b"x")
        archive.writestr("a.png/b.png", b"x")
    text = _refused(tmp_path / "odd.zip", cache)
    assert "'a.png/b.png' is both a file and a folder" in text


@pytest.mark.parametrize("suffix", [".zip", *_TAR_MODES])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_truncated_archive(pets: Path, cache: Path, suffix: str, share: float) -> None:
    packed = _pack(pets, suffix)
    # The end of an uncompressed tar is padding; cut within the images.
    end = 60_000 if suffix == ".tar" else packed.stat().st_size
    os.truncate(packed, int(share * end) // 512 * 512 + (100 if share else 0))
    text = _refused(packed, cache)
    assert text.startswith(f"an archive can be read to its end; {packed} cannot (")
    assert text.endswith("; try: download or pack it again")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_flipped_byte(pets: Path, cache: Path, suffix: str) -> None:
    packed = _pack(pets, suffix)
    content = bytearray(packed.read_bytes())
    content[len(content) // 3] ^= 0xFF
    packed.write_bytes(content)
    assert "an archive can be read to its end" in _refused(packed, cache)


def test_a_damaged_header_in_a_tar_is_not_its_end(pets: Path, cache: Path) -> None:
    packed = _pack(pets, ".tar")
    with tarfile.open(packed) as archive:
        offset = archive.getmembers()[10].offset
    content = bytearray(packed.read_bytes())
    content[offset] ^= 0xFF
    packed.write_bytes(content)
    assert "cannot (its end is missing)" in _refused(packed, cache)


def test_text_under_an_archive_name(tmp_path: Path, cache: Path) -> None:
    for suffix in (".zip", ".tar.gz"):
        (tmp_path / f"data{suffix}").write_text("not an archive")
        assert "an archive can be read to its end" in _refused(tmp_path / f"data{suffix}", cache)


def test_a_full_disk_while_unpacking(
    pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = _pack(pets, ".zip")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        scan(packed, 0)
    assert list((cache / "archives").iterdir()) == []


def test_an_archive_without_images(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    packed = _pack(make_folder({"cat": 0, "dog": 0}), ".zip")
    with pytest.raises(DataError, match="every class folder holds images; packed/cat holds none"):
        scan(packed, 0)
