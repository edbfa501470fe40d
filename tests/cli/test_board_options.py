"""Which device `nas profile` and `nas validate` go to."""

import argparse

import pytest

from nas.cli.common import add_board_options, open_transport
from nas.devices.transports.adb import Adb
from nas.devices.transports.local import Local
from nas.devices.transports.ssh import Ssh


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """Something of these names is on the PATH; nothing here runs it."""
    for name in ("ssh", "scp", "adb"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("options", "transport"),
    [
        ([], lambda: Local()),
        (["--host", "pi@board"], lambda: Ssh("pi@board")),
        (["--host", "pi@board", "--python", "/opt/py"], lambda: Ssh("pi@board", "/opt/py")),
        (["--adb", "R58M"], lambda: Adb("R58M")),
        (["--adb", "R58M", "--python", "/data/py"], lambda: Adb("R58M", "/data/py")),
    ],
)
def test_the_options_say_where(programs, options, transport):
    parser = argparse.ArgumentParser()
    add_board_options(parser, parser.add_mutually_exclusive_group())
    assert open_transport(parser.parse_args(options)) == transport()


@pytest.mark.parametrize("command", ["profile", "validate"])
def test_one_device_at_a_time(nas, command):
    answer = nas(command, "--device", "mine", "--host", "pi@board", "--adb", "R58M")
    assert answer.code == 2 and "not allowed with argument --host" in answer.err


def test_a_machine_without_adb(refused, monkeypatch, tiny, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused("profile", "--device", "mine", "--space", tiny, "--adb", "R58M")
    assert message.startswith("--adb needs adb, which is not on the PATH; try: install ")
