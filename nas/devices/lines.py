"""Listening to an agent: a process that speaks in lines of JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from nas.errors import MeasurementError

Progress = Callable[[int, int], None]
LONGEST_LINE = 1_000_000


def listen(
    command: Sequence[str], place: str, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Run a command that starts an agent, and follow it to its end.

    Args:
        command: The program and its arguments; no shell is involved here.
        place: Where the agent runs, for messages.
        progress: Called with the number of finished and of all timings.

    Returns:
        Its last message.

    Raises:
        MeasurementError: It cannot be started, failed, or was cut off.
    """
    last: dict[str, Any] = {}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except OSError as cause:
            raise MeasurementError(f"{command[0]} cannot be started: {cause.strerror}") from cause
        try:
            assert process.stdout is not None
            while line := process.stdout.readline(LONGEST_LINE):
                last = _message(line) or last
                if "progress" in last:
                    progress(*last["progress"])
            code = process.wait()
        finally:
            # Ctrl-C, or an error here: the agent ends with us and keeps what it has.
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        said = errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
    if "error" in last:
        raise MeasurementError(f"{place}: {last['error']}")
    if code != 0 or not last or "progress" in last:  # `adb` ends with 0 when the device is lost
        reason = said[-1] if said else f"it ended with code {code}"
        raise MeasurementError(
            f"the measurement on {place} was cut off: {reason}",
            do="the same command goes on where it was",
        )
    return last


def _message(line: bytes) -> dict[str, Any] | None:
    """A line of the agent; anything else (a login banner) is passed over."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    if "progress" in found:
        done = found["progress"]
        if not (isinstance(done, list) and len(done) == 2 and all(type(n) is int for n in done)):
            return None
    return found
