"""A board over ssh: a real sshd on loopback, with keys and a home of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nas.devices.bundle import Item, Job, read_result, write_bundle
from nas.devices.profile import profile
from nas.devices.transports.ssh import FOLDER, Ssh
from nas.errors import MeasurementError, OptionError
from nas.export.graph import GraphTarget
from nas.space.blocks import make_block

from ..conftest import QUICK
from ..test_profile import DEVICE, settings

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None,
    reason="no sshd here: install openssh-server to test measuring over ssh",
)


def item(name, channels=8):
    block = make_block("head", (4, 4), 8, channels, {"activation": "relu"})
    return Item(name, (("block", block),))


JOB = Job(
    "onnxruntime", 1, QUICK, 0, GraphTarget(), item("reference"),
    tuple(item(f"item {n}", 8 * n) for n in range(1, 6)),
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An sshd that puts whoever comes into a home of its own: options for ssh, and that home."""
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
    python = Path(sys.executable).parent
    command = f'cd "$HOME"; PATH={python}:$PATH; eval "${{SSH_ORIGINAL_COMMAND:-true}}"'
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nSetEnv {environment}\nSubsystem sftp internal-sftp\n"
        f'ForceCommand sh -c \'case "$SSH_ORIGINAL_COMMAND" in internal-sftp) '
        f'cd "$HOME"; exec {_sftp_server()};; *) {command};; esac\'\n'
    )
    Path("/run/sshd").mkdir(exist_ok=True) if os.access("/run", os.W_OK) else None
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE
    )
    options = (
        "-o", "BatchMode=yes", "-o", f"Port={port}", "-o", f"IdentityFile={folder}/user",
        "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={folder}/known",
        "-o", "StrictHostKeyChecking=accept-new", "-F", "/dev/null",
    )  # fmt: skip
    try:
        _wait_for(port, process)
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


def _wait_for(port, process):
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def board(server):
    options, home = server
    shutil.rmtree(home / ".cache", ignore_errors=True)
    return Ssh(f"{getpass.getuser()}@127.0.0.1", options=options)


def leftovers(server):
    _, home = server
    return [path for path in home.rglob("*") if "nas-agent" in str(path)]


def test_it_describes_the_board(board, server):
    told = board.describe("onnxruntime")
    assert told["machine"]["processor"] and told["machine"]["cores"]
    assert told["runtime"]["name"] == "onnxruntime" and told["runtime"]["version"]
    assert leftovers(server) == []


def test_it_measures_a_bundle_and_leaves_nothing_behind(board, server, tmp_path):
    job = write_bundle(tmp_path / "bundle.zip", JOB)
    seen = []
    board.run(tmp_path / "bundle.zip", job, tmp_path / "r.json", lambda *n: seen.append(n))
    found = read_result(tmp_path / "r.json", JOB, job)
    assert set(found.timings) == {one.id for one in JOB.items}
    assert seen[-1] == (10, 10)
    assert leftovers(server) == []


def test_a_whole_profile(board, server, tmp_path):
    table = profile(settings(), board, tmp_path / "tables")
    assert table.device.hardware and table.provenance == "measured"
    assert [path.name for path in (tmp_path / "tables").iterdir()] == [DEVICE]
    assert leftovers(server) == []


def test_a_cut_connection_is_picked_up(board, server, tmp_path):
    """Half-way, the client is killed: the board keeps what it has, and nothing is timed twice."""
    items = tuple(item(f"item {n}", 8 * n) for n in range(1, 9))
    job = replace(JOB, items=items, effort=QUICK._replace(min_time_ms=60.0, rounds=4))
    job_id = write_bundle(tmp_path / "bundle.zip", job)
    arguments = (tmp_path / "bundle.zip", job_id, tmp_path / "r.json")

    def cut(done, total):
        if done >= 8:
            subprocess.run(["pkill", "-9", "-f", f"ssh .*{job_id[:16]}"], check=True)

    with pytest.raises(MeasurementError, match=r"was cut off: .*; try: the same command goes on"):
        board.run(*arguments, cut)
    assert leftovers(server), "what was timed is kept"
    seen = []
    board.run(*arguments, lambda done, total: seen.append(done))
    assert seen[0] > 8 and seen[-1] == 32
    assert len(read_result(tmp_path / "r.json", job, job_id).timings) == 8
    assert leftovers(server) == []


def test_a_board_without_the_runtime(board, server, tmp_path):
    with pytest.raises(MeasurementError, match=r"127\.0\.0\.1: no such runtime: abacus"):
        board.describe("abacus")
    assert leftovers(server) == []


def test_a_board_without_python(server):
    options, _ = server
    board = Ssh(f"{getpass.getuser()}@127.0.0.1", "python-of-nobody", options)
    with pytest.raises(MeasurementError, match="python-of-nobody"):
        board.describe("onnxruntime")


def test_a_board_that_cannot_be_reached(server, tmp_path):
    options, _ = server
    nowhere = tuple("Port=9" if option.startswith("Port=") else option for option in options)
    board = Ssh("127.0.0.1", options=nowhere)
    with pytest.raises(MeasurementError) as caught:
        board.describe("onnxruntime")
    message = str(caught.value)
    assert message.startswith("127.0.0.1 cannot be used over ssh: ") and "\n" not in message
    assert message.endswith(
        "try: ssh 127.0.0.1 true, which must work without a question; then the same command"
    )


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "board; rm -r /", "a b"])
def test_a_host_that_is_an_option_or_a_command_is_refused(host):
    with pytest.raises(OptionError, match="--host is a name that ssh knows"):
        Ssh(host)


def test_the_agent_ends_with_the_connection(board, server, tmp_path):
    """No process stays on the board after the client is gone."""
    job = replace(JOB, effort=QUICK._replace(min_time_ms=100.0, rounds=50))
    job_id = write_bundle(tmp_path / "bundle.zip", job)

    def cut(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.run(tmp_path / "bundle.zip", job_id, tmp_path / "r.json", cut)
    end = time.monotonic() + 20
    while _agents(job_id):
        assert time.monotonic() < end, "the agent goes on without anyone listening"
        time.sleep(0.1)


def _agents(job_id):
    done = subprocess.run(["pgrep", "-f", f"{FOLDER}/{job_id[:16]}"], capture_output=True)
    own = {str(os.getpid())}
    return [line for line in done.stdout.decode().split() if line not in own]
