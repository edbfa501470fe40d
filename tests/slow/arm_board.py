"""A 64-bit Arm board to be had anywhere: Debian's Arm userland under emulation, behind an sshd.

The userland (Debian 12, its Python 3.11, onnxruntime for aarch64) is unpacked once into the user's
cache folder. A real sshd on loopback puts whoever comes into it; the kernel starts its programs
with qemu (binfmt_misc). What is timed there says nothing about any board.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

HOST = "arm-board"
SUITE = "bookworm"
PACKAGES = "python3,libgomp1,openssh-sftp-server"
WHEELS = ("onnxruntime==1.27.0", "numpy==2.3.5")
"""Newer versions of onnxruntime crash under the emulator of Debian 12 (qemu 7.2)."""
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
MAGIC = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
"""The header of a 64-bit Arm program in ELF, and the bits of it that count."""
SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class ArmBoard:
    """The board, seen from here.

    Attributes:
        root: Its file system.
        programs: Folder of an `ssh` and an `scp` that know it as `arm-board`.
        server: The sshd.
    """

    root: Path
    programs: Path
    server: psutil.Process

    def cut(self) -> None:
        """End every connection, from the server's side."""
        for session in self.server.children():
            session.kill()

    def leftovers(self) -> list[Path]:
        """What is in the home folder of the board."""
        return sorted((self.root / "root").iterdir())

    def journal(self) -> list[str]:
        """The finished timings that are kept on the board, one line each."""
        try:
            (path,) = self.root.glob("root/.nas-agent/*/results.json.part")
            return path.read_text().splitlines()[1:]
        except (OSError, ValueError):
            return []


def missing() -> str | None:
    """Why there cannot be such a board here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the Arm board takes Linux and root (chroot, binfmt_misc)"
    programs = ("debootstrap", "dpkg-deb", "qemu-aarch64-static", "sshd", "ssh", "scp", "chroot")
    absent = [program for program in programs if shutil.which(program, path=SYSTEM) is None]
    if absent:
        return f"no {', '.join(absent)}: apt install debootstrap qemu-user-static openssh-server"
    return None


@contextmanager
def arm_board(cache: Path, folder: Path) -> Iterator[ArmBoard]:
    """The board, as long as the block lasts.

    Args:
        cache: Where its userland is unpacked, once.
        folder: An empty one for the sshd's files.
    """
    root = cache / f"arm64-{SUITE}-onnxruntime-1.27.0"
    if not root.exists():
        _unpack(cache, root)
    shutil.rmtree(root / "root")
    (root / "root").mkdir()
    with _emulator(), _sshd(root, folder) as server:
        yield ArmBoard(root, folder, psutil.Process(server.pid))


def _unpack(cache: Path, root: Path) -> None:
    """The second stage of debootstrap would take minutes and adds nothing that is needed here."""
    part = cache / f"{root.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    given = ["--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}"]
    _download(["debootstrap", *given, SUITE, str(part)])
    for package in sorted(part.glob("var/cache/apt/archives/*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(part)], check=True)
        package.unlink()
    (part / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (part / "etc" / "group").write_text("root:x:0:\n")
    wheels = part / "wheels"
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    _download(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
         "--python-version", "3.11", *platforms, "-d", str(wheels), *WHEELS]
    )  # fmt: skip
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part / "usr" / "lib" / "python3" / "dist-packages")
    shutil.rmtree(wheels)
    part.rename(root)


def _download(command: list[str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, "PATH": SYSTEM}, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        pytest.skip(f"{command[0]} could not get the Arm userland: {said[-1] if said else ''}")


@contextmanager
def _emulator() -> Iterator[None]:
    """Let the kernel run Arm programs, unless it does already; undone at the end."""
    mounted = (BINFMT / "register").exists()
    if not mounted:
        done = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
        if done.returncode != 0:
            pytest.skip("this kernel has no binfmt_misc, or does not let it be mounted here")
    own = None
    try:
        # F: the emulator is opened now, and need not be inside the userland.
        known = [path for path in BINFMT.glob("*aarch64*") if "flags: " in path.read_text()]
        if not any("F" in path.read_text().split("flags: ")[1].split()[0] for path in known):
            own = BINFMT / "nas-test-aarch64"
            program = shutil.which("qemu-aarch64-static")
            line = f":{own.name}:M::{MAGIC}:{MASK}:{program}:OCF"
            (BINFMT / "register").write_text(line)
        yield
    finally:
        if own is not None:
            own.write_text("-1")
        if not mounted:
            subprocess.run(["umount", str(BINFMT)], check=True)


ENTER = """\
#!/bin/sh
exec {chroot} '{root}' /bin/sh -c "cd /root; ${{SSH_ORIGINAL_COMMAND:-true}}"
"""
CLIENT = """\
#!/bin/sh
exec {program} -F '{folder}/client' "$@"
"""


@contextmanager
def _sshd(root: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    chroot = shutil.which("chroot", path=SYSTEM)
    _program(folder / "enter", ENTER.format(chroot=chroot, root=root))
    for name in ("ssh", "scp"):
        _program(folder / name, CLIENT.format(program=shutil.which(name), folder=folder))
    (folder / "client").write_text(
        f"Host {HOST}\nHostName 127.0.0.1\nPort {port}\nUser root\nIdentityFile {folder}/user\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking accept-new\n"
    )
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"Subsystem sftp /usr/lib/openssh/sftp-server\nForceCommand {folder}/enter\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd", path=SYSTEM)
    assert sshd is not None
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        end = time.monotonic() + 20
        while not _listens(port):
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield server
    finally:
        server.terminate()
        server.wait()


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
