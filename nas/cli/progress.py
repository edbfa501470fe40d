"""Progress on the terminal: bars with the time left, or now and then a line where there is none."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from nas.units import format_duration_s

LINE_EVERY_S = 15.0
WIDE = 72
"""Columns of a terminal that has room for everything."""


class TerminalWatcher:
    """Shows what a run says and how far it is, on standard error."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        self._starts: dict[str, tuple[float, float]] = {}
        self._last_line = 0.0

    def __enter__(self) -> TerminalWatcher:
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console, Group
            from rich.live import Live
            from rich.text import Text

            console = Console(stderr=True)
            wide = console.width >= WIDE  # else the bar gives way before the numbers do
            self._bars = progress.Progress(
                progress.TextColumn("{task.description:<14}"),
                *([progress.BarColumn()] if wide else []),
                progress.MofNCompleteColumn(),
                *([progress.TimeElapsedColumn()] if wide else []),
                progress.TextColumn("{task.fields[left]}"),
                console=console,
            )
            self._note = Text(style="dim", no_wrap=wide, overflow="ellipsis" if wide else "fold")
            self._live = Live(Group(self._bars, self._note), console=console, refresh_per_second=10)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def progress(self, stage: str, done: float, total: int, note: str = "") -> None:
        """Move a stage's bar; the note is below the bars."""
        first = stage not in self._starts
        left = self._left(stage, done, total)
        if self._bars is None:
            self._line(stage, done, total, left, note, first)
            return
        self._note.plain = note
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, completed=done, total=total, left=left)
        else:
            self._bars.update(self._tasks[stage], completed=done, total=total, left=left)

    def _left(self, stage: str, done: float, total: int) -> str:
        """How long the rest of a stage takes if it goes on as since its begin here, if known."""
        now = time.monotonic()
        start, before = self._starts.setdefault(stage, (now, done))
        if not before < done < total:
            return ""
        return f"{format_duration_s((now - start) / (done - before) * (total - done))} left"

    def _line(self, stage: str, done: float, total: int, left: str, note: str, first: bool) -> None:
        """For files and pipes: the first and last of a stage, and one every few seconds."""
        now = time.monotonic()
        if not first and done < total and now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        left, told = left and f", {left}", note and f"; {note}"
        print(f"{stage} {int(done)}/{total}{left}{told}", file=sys.stderr, flush=True)
