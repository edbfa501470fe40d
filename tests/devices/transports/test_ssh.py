"""What is particular to ssh; the rest is in `test_remote.py`."""

import pytest

from nas.devices.transports.ssh import Ssh
from nas.errors import MeasurementError, OptionError


def test_a_board_that_cannot_be_reached(sshd):
    options, _ = sshd
    nowhere = tuple("Port=9" if option.startswith("Port=") else option for option in options)
    board = Ssh("127.0.0.1", options=nowhere)
    with pytest.raises(MeasurementError) as caught:
        board.describe("onnxruntime")
    message = str(caught.value)
    assert message.startswith("127.0.0.1 cannot be used over ssh: ") and "\n" not in message
    assert message.endswith(
        "try: ssh 127.0.0.1 true, which must work without a question; then the same command"
    )


@pytest.mark.parametrize(
    "host", ["", "user@", "@board", "-oProxyCommand=touch x", "board; rm -r /", "a b"]
)
def test_a_host_that_is_an_option_or_a_command_is_refused(host):
    with pytest.raises(OptionError, match="--host is a name that ssh knows"):
        Ssh(host)
