"""The errors that `nas` raises on purpose, and the exit code of each.

    NasError                     exit 1: something failed that was asked for rightly
    ├── DiskFullError            no space left; what is finished stays
    ├── ExportError              the exported file does not compute what torch computes
    ├── MeasurementError         the machine could not be measured
    ├── MemoryFullError          a device's memory is too small for what is trained
    └── InputError               exit 2: what came in breaks a rule
        ├── ArchitectureError    an architecture object that its space does not allow
        ├── BudgetError          a budget that nothing, or nothing sensible, meets
        ├── CheckpointError      a supernet file that belongs to something else
        ├── DataError            images that cannot be trained on
        ├── ModelFileError       an ONNX file that cannot be read
        ├── OptionError          a command-line option or a configuration value
        ├── ResultError          a measurement's result that does not belong to its bundle
        ├── RunFolderError       an output folder that cannot be used
        ├── SpaceError           a search space file
        ├── TableError           a latency table
        └── UnitError            a quantity without its unit, or out of range

A message is one line: the rule, what came, what is allowed, and what to do about it.
"""

from __future__ import annotations


class NasError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        rule: The rule that was broken, as a sentence without a full stop.
        got: What was received; shown with `repr` when it is a string.
        allowed: What would have been accepted.
        do: What to do next, best a command that can be pasted.
    """

    exit_code = 1

    def __init__(
        self, rule: str, *, got: object = None, allowed: str | None = None, do: str | None = None
    ) -> None:
        parts = [rule]
        if got is not None:
            parts.append(f"got {got!r}" if isinstance(got, str) else f"got {got}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if do is not None:
            parts.append(f"try: {do}")
        line = " ".join("; ".join(parts).split())
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in line))


class DiskFullError(NasError):
    """No space is left on the disk; finished files are complete."""


class ExportError(NasError):
    """The exported file does not compute what the torch model computes."""


class MeasurementError(NasError):
    """The device could not be measured."""


class MemoryFullError(NasError):
    """The memory of the device that trains is too small for even a few images."""


class InputError(NasError):
    """Base of everything that better input would have avoided."""

    exit_code = 2


class ArchitectureError(InputError):
    """An architecture object that its search space does not allow."""


class BudgetError(InputError):
    """A budget that no architecture meets."""


class CheckpointError(InputError):
    """A supernet checkpoint that cannot be used here."""


class DataError(InputError):
    """A data set that cannot be used."""


class ModelFileError(InputError):
    """An ONNX file that cannot be read."""


class OptionError(InputError):
    """A command-line option or configuration value that is not allowed."""


class ResultError(InputError):
    """A measurement's result that cannot be used."""


class RunFolderError(InputError):
    """A run folder that cannot be used."""


class SpaceError(InputError):
    """A search space file that is not valid."""


class TableError(InputError):
    """A latency table that is not valid or does not hold what was asked for."""


class UnitError(InputError):
    """A quantity without a unit, with an unknown one, or out of range."""
