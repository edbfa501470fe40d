"""Latency tables: one folder for each device, read and checked, written whole or not at all.

A folder holds `device.yaml` (what was measured, how, how well it predicts) and `blocks.csv` (one
row for each block key) for a measured table, or coefficients in `device.yaml` and the published
rows behind them in `sources.csv` for an estimated one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import yaml

from nas.documents import read_yaml
from nas.errors import OptionError, SpaceError, TableError
from nas.files import atomic_path, data_folder, search_folders, shipped_folder
from nas.latency.classes import ClassLines
from nas.latency.device_file import Calibration, DeviceFile
from nas.latency.roofline import BYTES
from nas.space import space_names
from nas.space.blocks import BlockKey, make_block
from nas.space.memory import block_peak_bytes, block_weight_bytes

KIND = "latency_tables"
SCHEMA = 2
"""Of the rows; in the first, blocks were measured by themselves, not between layers."""
COLUMNS = (
    "schema", "op", "precision", "batch", "height", "width", "in_channels", "out_channels",
    "params", "latency_ms", "spread_ms", "p95_ms", "samples", "source",
    "energy_mj", "peak_memory_bytes", "weight_bytes",
)  # fmt: skip

Source = Literal["measured", "interpolated", "transferred"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class Row:
    """A block's latency.

    Attributes:
        latency_ms: Of one inference while nothing disturbs.
        spread_ms: Median absolute deviation of the timings that count; of an interpolated block
            the median error of its table's interpolation.
        p95_ms: 95th percentile of the runs that count; None where it was not recorded.
        samples: Number of those runs; 0 for an interpolated block.
        source: Whether the block was measured, interpolated between others of the table, or
            transferred from another device's table.
        energy_mj: Of one inference, by the board's meter; None where it has none.
    """

    latency_ms: float
    spread_ms: float
    p95_ms: float | None
    samples: int
    source: Source = "measured"
    energy_mj: float | None = None


@dataclass(frozen=True)
class LatencyTable:
    """A device's table as read from its folder; `rows` is empty for an estimated one."""

    device: DeviceFile
    rows: Mapping[BlockKey, Row]
    folder: Path

    @property
    def name(self) -> str:
        """The device's full name."""
        return self.device.name

    @property
    def provenance(self) -> str:
        """`measured` or `estimated`."""
        return self.device.provenance.kind

    @cached_property
    def class_lines(self) -> ClassLines:
        """Classifiers over their number of classes; what was interpolated tests nothing."""
        latencies_ms = {key: row.latency_ms for key, row in self.rows.items()}
        held_out = [key for key, row in self.rows.items() if row.source != "interpolated"]
        return ClassLines.of(latencies_ms, held_out)

    def calibration(
        self, space: str, plan: str, precision: str, resolution: int
    ) -> Calibration | None:
        """The calibration for a space, plan and resolution, if there is one."""
        for found in self.calibrations(space, plan, precision):
            if resolution in found.resolutions:
                return found
        return None

    def calibrations(self, space: str, plan: str, precision: str) -> list[Calibration]:
        """The calibrations for a space and plan; no two have a resolution in common."""
        wanted = (space, plan, precision)
        return [c for c in self.device.calibrations if (c.space, c.plan, c.precision) == wanted]


def table_folders() -> dict[str, Path]:
    """Every table that can be named and its folder; the first place of look-up wins."""
    found: dict[str, Path] = {}
    for folder in search_folders(KIND):
        for path in sorted(folder.glob("*/device.yaml")):
            found.setdefault(path.parent.name, path.parent)
    return found


def load_table(device: str | Path) -> LatencyTable:
    """The table of a device by name, alias, or (a path, or a text with a separator) by folder.

    Raises:
        OptionError: No table has that name.
        TableError: The table is not valid.
    """
    if isinstance(device, Path) or "/" in device or "\\" in device:
        return read_table(Path(device))
    folders = table_folders()
    if device in folders:
        return read_table(folders[device])
    aliases: dict[str, Path] = {}
    for folder in folders.values():
        with contextlib.suppress(TableError):  # another device's broken table is not our concern
            for alias in _read_device(folder).aliases:
                aliases.setdefault(alias, folder)
    if device not in aliases:
        known = sorted({*aliases, *folders})
        raise OptionError(
            "no latency table has this device name",
            got=device,
            allowed=", ".join(known) or "none found",
            do=f"nas devices, or measure it: nas profile --device {device}",
        )
    return read_table(aliases[device])


def profile_option(device: DeviceFile, folder: Path) -> str:
    """The options with which `nas profile` measures a table on this machine, or anew.

    A table that came with `nas` was measured elsewhere: one measured here needs a name of its own.
    """
    runtime = shlex.quote(device.runtime)
    options = f" --runtime {runtime}" if device.runtime != "onnxruntime" else ""
    options += f" --threads {device.threads}" if (device.threads or 1) > 1 else ""
    if folder.parent.resolve() == (shipped_folder() / KIND).resolve():
        return "--device my-device" + options
    if folder.parent.resolve() == (data_folder() / KIND).resolve():
        return f"--device {device.name}{options}"
    return f"--device {device.name} --out {shlex.quote(str(folder.parent))}{options}"


def read_table(folder: Path) -> LatencyTable:
    """Read and check a table's folder.

    Raises:
        TableError: Something in it is missing, broken or contradictory; names the file and line.
    """
    device = _read_device(folder)
    if device.provenance.kind == "estimated":
        return LatencyTable(device, {}, folder)
    path = folder / "blocks.csv"
    if path.exists() and not path.is_file():
        raise TableError(f"{path} is not a regular file", do=_again(device, path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise TableError(f"{path} cannot be read: {cause}", do=_again(device, path)) from cause
    rows = _parse_rows(text, path, device)
    if len(rows) != device.rows:
        raise TableError(
            f"{path} is cut off or misses rows",
            got=f"{len(rows)} rows",
            allowed=f"the {device.rows} rows that device.yaml counts",
            do=_again(device, path),
        )
    return LatencyTable(device, rows, folder)


def write_table(table: LatencyTable) -> None:
    """Write a table into its folder: both files are there in full before the first is replaced."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key in sorted(table.rows, key=_row_order):
        block, row = key.block, table.rows[key]
        writer.writerow(
            [SCHEMA, block.op, key.precision, key.batch, block.height, block.width,
             block.in_channels, block.out_channels, block.params_json,
             _number(row.latency_ms), _number(row.spread_ms), _number(row.p95_ms), row.samples,
             row.source, _number(row.energy_mj), *_memory_bytes(key)]
        )  # fmt: skip
    content = table.device.model_dump(by_alias=True)
    content = {key: value for key, value in content.items() if not _unused(key, value)}
    with (
        atomic_path(table.folder / "device.yaml") as device,
        atomic_path(table.folder / "blocks.csv") as blocks,
    ):
        blocks.write_text(buffer.getvalue(), encoding="utf-8")
        device.write_text(dump_yaml(content), encoding="utf-8")


def dump_yaml(content: object) -> str:
    """YAML in the order given, without aliases."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)


class _PlainDumper(yaml.SafeDumper):
    """Writes short lists of numbers on one line and repeats values instead of naming them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _flow_numbers(dumper: yaml.SafeDumper, data: list[object]) -> yaml.Node:
    flat = all(isinstance(item, int | float) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_PlainDumper.add_representer(list, _flow_numbers)


def _unused(key: str, value: object) -> bool:
    optional = {
        "aliases", "session", "rows", "interpolation", "calibrations", "roofline", "certificate",
    }  # fmt: skip
    return key in optional and value in (None, [])


def _read_device(folder: Path) -> DeviceFile:
    path = folder / "device.yaml"
    if not path.is_file():
        raise TableError(
            f"{folder} is not a latency table: it has no device.yaml", do="nas devices"
        )
    try:
        return read_yaml(path, DeviceFile, TableError)
    except TableError as error:
        raise TableError(
            str(error), do=f"mend that file, or {_remove(folder)} and profile the device again"
        ) from error


def _parse_rows(text: str, path: Path, device: DeviceFile) -> dict[BlockKey, Row]:
    if not text.endswith("\n"):
        raise TableError(f"{path} is cut off: its last line has no end", do=_again(device, path))
    lines = csv.reader(io.StringIO(text))
    header = next(lines, [])
    place = _Place(path, 1, device)
    if tuple(header) != COLUMNS:
        raise place.error(": the columns are fixed", ",".join(header), ",".join(COLUMNS))
    rows: dict[BlockKey, Row] = {}
    try:
        for fields in lines:
            place = _Place(path, lines.line_num, device)
            key, row = _parse_row(fields, place)
            if key in rows:
                raise place.error(": a block key is listed twice", str(key))
            rows[key] = row
    except csv.Error as cause:
        place = _Place(path, lines.line_num, device)
        raise place.error(f" is not valid CSV: {cause}") from cause
    return rows


@dataclass(frozen=True)
class _Place:
    """A line of a table."""

    path: Path
    line: int
    device: DeviceFile

    def error(self, rule: str, got: object = None, allowed: str | None = None) -> TableError:
        """What is wrong with it, and what to do about any damage."""
        do = _again(self.device, self.path)
        return TableError(f"{self.path} line {self.line}{rule}", got=got, allowed=allowed, do=do)


def _parse_row(fields: list[str], place: _Place) -> tuple[BlockKey, Row]:
    if len(fields) != len(COLUMNS):
        raise place.error(f": a row has {len(COLUMNS)} columns", len(fields))
    schema, op, precision, batch, height, width, inputs, outputs, params, *numbers = fields
    if schema != str(SCHEMA):
        raise place.error(": another version of latency tables", schema, str(SCHEMA))
    try:
        size = (int(height), int(width))
        block = make_block(op, size, int(inputs), int(outputs), json.loads(params))
        key = BlockKey(block, precision, int(batch))
        hash(key)  # a list among the params would pass until here
        latency_ms, spread_ms = float(numbers[0]), float(numbers[1])
        p95_ms = float(numbers[2]) if numbers[2] else None
        samples, source = int(numbers[3]), _source(numbers[4])
        energy_mj = float(numbers[5]) if numbers[5] else None
        memory = [str(n) for n in _memory_bytes(key)] if precision in BYTES else []
    except (
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        SpaceError,
    ) as cause:
        raise place.error(f" is not a row of a latency table: {cause}") from cause
    whole = (*size, block.in_channels, block.out_channels, key.batch)
    if precision not in BYTES or min(whole) <= 0 or (samples > 0) != (source == "measured"):
        raise place.error(
            ": sizes are above zero, as are the samples of a measured block and of no other; "
            f"precision is one of {', '.join(BYTES)}",
            ",".join(fields),
        )
    if not math.isfinite(latency_ms) or latency_ms <= 0:
        raise place.error(": latency_ms must be a finite number above zero", numbers[0])
    for name, value, text in (("spread_ms", spread_ms, numbers[1]), ("p95_ms", p95_ms, numbers[2])):
        if value is not None and (not math.isfinite(value) or value < 0):
            raise place.error(f": {name} must be a finite number, not negative", text)
    if energy_mj is not None and (not math.isfinite(energy_mj) or energy_mj <= 0):
        raise place.error(
            ": energy_mj is a finite number above zero, or empty where it is not known", numbers[5]
        )
    for name, expected, text in zip(COLUMNS[-2:], memory, numbers[6:], strict=True):
        if text != expected:
            raise place.error(f": {name} follows from the block", text, expected)
    return key, Row(latency_ms, spread_ms, p95_ms, samples, source, energy_mj)


def _source(text: str) -> Source:
    for known in SOURCES:
        if text == known:
            return known
    raise ValueError(f"source is one of {', '.join(SOURCES)}")


def _memory_bytes(key: BlockKey) -> tuple[int, int]:
    """Peak of the activations and size of the weights: exact, not measured."""
    width = BYTES[key.precision]
    return key.batch * block_peak_bytes(key.block, width), block_weight_bytes(key.block, width)


def _again(device: DeviceFile, path: Path) -> str:
    """What to do about a damaged table: profiling does not extend one that cannot be read."""
    command = f"{_remove(path.parent)} && nas profile {profile_option(device, path.parent)}"
    for found in device.calibrations[:1]:
        known = found.space in space_names()
        space = shlex.quote(found.space if known else f"{found.space}.yaml")
        command += f" --space {space} --plan {shlex.quote(found.plan)}"
    return command


def _remove(folder: Path) -> str:
    return f"rm -r {shlex.quote(str(folder))}"


def _row_order(key: BlockKey) -> tuple[object, ...]:
    block = key.block
    return (
        key.precision, key.batch, block.op, block.height, block.width,
        block.in_channels, block.out_channels, block.params_json,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
