"""What is particular to adb: its own words, from the real one; the rest is in `test_remote.py`."""

import time

import pytest

from nas.devices.transports.adb import FOLDER, Adb
from nas.errors import MeasurementError, OptionError

from ...boards import LOCKED, PHONE, SILENT


def message_of(serial):
    with pytest.raises(MeasurementError) as caught:
        Adb(serial).describe("onnxruntime")
    return str(caught.value)


def test_a_serial_that_is_not_there(adb):
    assert message_of("no-such-phone") == (
        "no-such-phone cannot be used over adb: device 'no-such-phone' not found; try: adb "
        "devices, which lists the serials there are (over the network: adb connect); then the same "
        "command"
    )


def test_a_phone_that_does_not_answer(adb):
    adb("connect", SILENT)
    assert message_of(SILENT) == (
        f"{SILENT} cannot be used over adb: device offline; try: adb reconnect offline, or unplug "
        "it and plug it in again; then the same command"
    )


def test_a_phone_that_does_not_know_this_computer(adb):
    adb("connect", LOCKED)
    end = time.monotonic() + 20
    while f"{LOCKED}\tunauthorized" not in adb("devices"):
        assert time.monotonic() < end, adb("devices")
    assert message_of(LOCKED) == (
        f"{LOCKED} cannot be used over adb: device unauthorized; try: unlock the device and allow "
        "USB debugging for this computer; then the same command"
    )


def test_a_folder_that_may_not_be_written(adb_board):
    board = Adb(PHONE, folder="/dev/null/nas-agent")
    with pytest.raises(MeasurementError) as caught:
        board.describe("onnxruntime")
    message = str(caught.value)
    assert message.startswith(f"{PHONE} cannot be used over adb: mkdir: ")
    assert message.endswith(
        f"try: adb -s {PHONE} shell true, which must work; then the same command"
    )


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Some program of that name is on the PATH: these tests do not run it."""
    (tmp_path / "adb").write_text("")
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("said", "reason", "advice"),
    [
        (
            ["adb: insufficient permissions for device: user in plugdev group; are your udev rules "
             "wrong?", "See [http://developer.android.com/tools/device.html] for more information"],
            "insufficient permissions for device: user in plugdev group; are your",
            "udev rules (Debian: ",
        ),
        (["error: device still authorizing"], "device still authorizing", "allow USB debugging"),
        (
            ["* daemon not running; starting now at tcp:5037", "* daemon started successfully",
             "adb: error: failed to get feature set: device 'x' not found"],
            "failed to get feature set: device 'x' not found",
            "adb devices",
        ),
        (
            ["adb: error: failed to copy 'bundle.zip' to '/data/local/tmp/nas-agent/1/bundle.zip': "
             "remote No space left on device"],
            "failed to copy",
            "free some space",
        ),
        (["* cannot start server"], "* cannot start server", "adb -s phone shell true"),
    ],
)  # fmt: skip
def test_other_words_of_adb(installed, said, reason, advice):
    message = str(Adb("phone").lost(said))
    assert message.startswith(f"phone cannot be used over adb: {reason}")
    assert advice in message and "\n" not in message


def test_every_word_is_quoted_for_the_devices_shell(installed):
    board = Adb("192.168.0.7:5555")
    assert board.command(["rm", "-r", "a b; reboot", "$HOME"]) == [
        "adb", "-s", "192.168.0.7:5555", "shell", "rm -r 'a b; reboot' '$HOME'",
    ]  # fmt: skip
    assert board.folder == FOLDER == "/data/local/tmp/nas-agent"


@pytest.mark.parametrize("serial", ["", "-e", "phone; reboot", "a b"])
def test_a_serial_that_is_an_option_or_a_command_is_refused(serial):
    with pytest.raises(OptionError, match="--adb is the serial of a device"):
        Adb(serial)


def test_without_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionError) as caught:
        Adb("phone")
    assert str(caught.value) == (
        "--adb needs adb, which is not on the PATH; try: install the Android platform tools "
        "(Debian: apt install adb)"
    )
