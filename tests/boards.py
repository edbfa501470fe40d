"""Boards at the other end of a real sshd and of a real adbd, both on this machine.

adbd lets everyone in and listens everywhere: it runs in a network of its own, that only the adb
server beside it reaches, and that one is reached through a socket in a folder.
"""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from nas.devices.transports.adb import Adb
from nas.devices.transports.remote import Remote
from nas.devices.transports.ssh import Ssh

SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin"
PYTHON = Path(sys.executable).parent
PHONE, SILENT, LOCKED = "127.0.0.1:5555", "127.0.0.1:5557", "127.0.0.1:5559"


@dataclass(frozen=True)
class Far:
    """A board, seen from both ends.

    Attributes:
        transport: The way to it.
        home: Its folder here: nothing stays in it.
        cut: Ends the connection while a bundle is measured, given its id.
        mend: Makes the next connection possible.
        name: What its errors call it.
    """

    transport: Remote
    home: Path
    cut: Callable[[str], None]
    mend: Callable[[], None]
    name: str

    def leftovers(self) -> list[Path]:
        return list(self.home.rglob("*"))

    def with_python(self, python: str) -> Remote:
        return replace(self.transport, python=python)


@pytest.fixture(params=["ssh_board", "adb_board"])
def far(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    """An sshd that puts whoever comes into a home of its own: options for ssh, and that home."""
    program = shutil.which("sshd", path=SYSTEM)
    if program is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here: install openssh-server to test measuring over ssh")
    folder = tmp_path_factory.mktemp("sshd")
    home = folder / "home with a space"
    home.mkdir()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = f'HOME="{home}"'
    command = f'cd "$HOME"; PATH={PYTHON}:$PATH; eval "${{SSH_ORIGINAL_COMMAND:-true}}"'
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nSetEnv {environment}\nSubsystem sftp internal-sftp\n"
        f'ForceCommand sh -c \'case "$SSH_ORIGINAL_COMMAND" in internal-sftp) '
        f'cd "$HOME"; exec {_sftp_server()};; *) {command};; esac\'\n'
    )
    Path("/run/sshd").mkdir(exist_ok=True) if os.access("/run", os.W_OK) else None
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE
    )
    options = (
        "-o", "BatchMode=yes", "-o", f"Port={port}", "-o", f"IdentityFile={folder}/user",
        "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={folder}/known",
        "-o", "StrictHostKeyChecking=accept-new", "-F", "/dev/null",
    )  # fmt: skip
    try:
        _wait(process, lambda: _listens(socket.AF_INET, ("127.0.0.1", port)))
        yield options, home
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _sftp_server():
    for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server"):
        if Path(path).exists():
            return path
    return "sftp-server"


def _listens(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address) == 0


def _wait(process, ready):
    end = time.monotonic() + 20
    while not ready():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def ssh_board(sshd):
    options, home = sshd
    for path in home.iterdir():
        shutil.rmtree(path)
    board = Ssh(f"{getpass.getuser()}@127.0.0.1", options=options)
    return Far(board, home, _kill_client, lambda: None, board.host)


def _kill_client(job_id):
    """The connection ends with the client's process."""
    clients = [
        child
        for child in psutil.Process().children()
        if child.name() == "ssh" and job_id[:16] in child.cmdline()[-1]
    ]
    assert clients
    for client in clients:
        client.kill()


PHONES = """\
import socket, struct, sys, threading

def packet(command, first, second, data=b""):
    number = int.from_bytes(command, "little")
    sums = (len(data), sum(data), number ^ 0xFFFFFFFF)
    return struct.pack("<6I", number, first, second, *sums) + data

def locked(phone):
    # Every packet is answered with a token to be signed; the public key (3) waits for its user.
    while header := phone.recv(24, socket.MSG_WAITALL):
        _, kind, _, length, _, _ = struct.unpack("<6I", header)
        while length:
            length -= len(phone.recv(length))
        if kind != 3:
            phone.sendall(packet(b"AUTH", 1, 0, bytes(20)))

silent = socket.create_server(("127.0.0.1", int(sys.argv[1])))
with socket.create_server(("127.0.0.1", int(sys.argv[2]))) as server:
    while True:
        threading.Thread(target=locked, args=[server.accept()[0]], daemon=True).start()
"""
"""Two phones of no use: one that says nothing, and one that does not know this computer."""

START = """\
ip link set lo up && cd "$1" && mkdir home && export HOME="$1/home" || exit 1
"$2" -c "$3" "$4" "$5" &
ADBD_PORT="${6##*:}" adbd 2> adbd.log &
exec adb -L "localfilesystem:$1/socket" server nodaemon 2> server.log
"""


@pytest.fixture(scope="session")
def adbd(tmp_path_factory):
    """An adbd and its adb server in a network of their own: the address of the server."""
    missing = [
        name for name in ("adb", "adbd", "unshare", "ip") if not shutil.which(name, path=SYSTEM)
    ]
    if missing:
        pytest.skip(
            f"no {' and no '.join(missing)} here: install adb, adbd (Debian 13 and newer), "
            "util-linux and iproute2 to test measuring over adb"
        )
    folder = tmp_path_factory.mktemp("adb")
    alone = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    alone += [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may not make a network of its own (unshare --net) for adbd")
    ports = [address.rpartition(":")[2] for address in (SILENT, LOCKED)]
    process = subprocess.Popen(
        [*alone, "sh", "-c", START, "sh", str(folder), sys.executable, PHONES, *ports, PHONE],
        env={"PATH": f"{PYTHON}:{SYSTEM}"}, stderr=subprocess.PIPE,
    )  # fmt: skip
    address = f"localfilesystem:{folder}/socket"
    try:
        # Only then: a client that finds no server starts one, outside of that network.
        _wait(process, lambda: _listens(socket.AF_UNIX, f"{folder}/socket"))
        _wait(process, lambda: _adb(address, "connect", PHONE).startswith("connected"))
        yield address
    finally:
        process.kill()  # `unshare` passes nothing else on
        process.wait()
        process.stderr.close()


def _adb(address, *words):
    environment = {**os.environ, "ADB_SERVER_SOCKET": address}
    return subprocess.run(["adb", *words], env=environment, capture_output=True, text=True).stdout


@pytest.fixture
def adb(adbd, monkeypatch):
    """`adb("devices")` runs it; `adb` finds its server in this test."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", adbd)
    return lambda *words: _adb(adbd, *words)


@pytest.fixture
def adb_board(adb, tmp_path):
    home = tmp_path / "data local 'tmp'"
    home.mkdir()

    def mend():
        end = time.monotonic() + 20
        while adb("-s", PHONE, "get-state").strip() != "device":
            assert time.monotonic() < end
            adb("connect", PHONE)

    mend()
    board = Adb(PHONE, folder=str(home / "nas-agent"))
    return Far(board, home, lambda job_id: adb("disconnect", PHONE), mend, PHONE)
