"""Fit the estimated latency tables to published latencies of whole networks.

    python benchmarks/latency/fit_estimates.py [--sources FILE] [--out FOLDER]

Every operation of a network costs `launch + GMACs * ms_per_gmac + MB * ms_per_mb`. The devices that
share a runtime are fitted together: each has its own scale for compute, memory and launches, the
kinds of layer have ratios to a dense convolution that the devices share. So a relative's
depthwise networks say what a depthwise layer costs where none was published. With so few rows the
logarithms of all parameters have priors, from data sheets (below); the fit is the maximum a
posteriori, and nothing in it is random.

Validation leaves out one family of networks on all devices of the runtime, fits again and predicts
it. docs/decisions/0003-estimated-tables.md tells what came out.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from published_networks import BUILDERS, PublishedNetwork, published_network
from runtime_groups import GROUPS, RuntimeGroup
from scipy.optimize import least_squares

from nas.latency.roofline import BYTES, KINDS, Roofline, RooflineKind

ROOT = Path(__file__).resolve().parents[2]
DATE = "2026-11-20"
RESULTS = Path("benchmarks/latency/results") / f"{DATE}-estimates.json"
COLUMNS = "device runtime precision threads model batch input_size latency_ms source".split()
METHOD = (
    "roofline per kind of layer (launch + MACs + bytes), fitted jointly to published latencies of "
    "whole networks on the devices that share the runtime; benchmarks/latency/fit_estimates.py"
)

FAMILY_OPS = {"resnet": "residual", "squeezenet": "fire"}
"""The block that a family of sources is made of, beside those of mobile networks."""
# Standard deviations of the priors, in natural logarithms: 0.5 is a factor of 1.6 either way.
DEVICE_WIDTHS = (0.5, 0.5, 0.7, 0.5)  # compute, memory, launch, constant
KIND_WIDTHS = (0.5, 0.25)  # compute, memory, relative to a dense convolution
DEPTHWISE_PRIOR = 3.0  # a depthwise MAC takes longer: little reuse, no matrix units
PEAK_SHARE = (0.5, 0.6)  # of the peak rate, of the peak bandwidth, that a good kernel reaches
# Published figures move by more than their digits: torch2trt issue 188 reports 75 images/s where
# the table says 90, from clocks that were not fixed.
NOISE = 0.1


Array = NDArray[np.float64]
Combine = Callable[[Array, Array], Array]
# The forms that were compared; `sum` is the one that `nas.latency.roofline` computes.
FORMS: dict[str, Combine] = {"sum": np.add, "max": np.maximum, "root_sum_square": np.hypot}


@dataclass(frozen=True)
class Row:
    """One published latency, and its line as it was read."""

    device: str
    network: PublishedNetwork
    latency_ms: float
    columns: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """A network that was predicted by a fit that saw nothing of its family."""

    family: str
    device: str
    model: str
    measured_ms: float
    predicted_ms: float

    @property
    def error(self) -> float:
        """Signed, relative to the measurement."""
        return self.predicted_ms / self.measured_ms - 1


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """The rows of networks that can be represented, at batch 1."""
    rows = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != COLUMNS:
                raise SystemExit(f"{path}: the columns are {COLUMNS}, got {reader.fieldnames}")
            rows += [_row(line) for line in reader if line["model"] in BUILDERS]
    return rows


def _row(line: dict[str, str]) -> Row:
    network = _network(line["model"], int(line["input_size"]))
    return Row(line["device"], network, float(line["latency_ms"]), tuple(line.values()))


@lru_cache
def _network(model: str, input_size: int) -> PublishedNetwork:
    return published_network(model, input_size)


def group_rows(group: RuntimeGroup, rows: Iterable[Row]) -> list[Row]:
    """The rows of a group's devices, runtime and precision."""
    wanted = (group.runtime, group.precision)
    return [row for row in rows if row.device in group.names and row.columns[1:3] == wanted]


class Problem:
    """All operations of some networks as arrays, so that a prediction is a few array products."""

    def __init__(self, group: RuntimeGroup, samples: list[tuple[str, PublishedNetwork]]) -> None:
        table = [
            (
                index,
                group.names.index(device),
                KINDS.index(operation.kind),
                operation.macs * 1e-9,
                operation.elements * 1e-6 * BYTES[group.precision],
                group.launches.get(operation.kind, 1),
            )
            for index, (device, network) in enumerate(samples)
            for operation in network.operations
        ]
        columns = [np.array(column) for column in zip(*table, strict=True)]
        self.row, self.device, self.kind = columns[:3]
        self.gmacs, self.megabytes, self.launches = columns[3:]
        self.row_device = np.array([group.names.index(device) for device, _ in samples])
        self.count = len(group.devices)

    def predict(self, theta: Array, combine: Combine) -> Array:
        """Latency of each network, ms; `theta` are logarithms, see `priors`."""
        devices, kinds = unpack(theta, self.count)
        compute = self.gmacs * (devices[0, self.device] * kinds[0, self.kind])
        memory = self.megabytes * (devices[1, self.device] * kinds[1, self.kind])
        cost = combine(compute, memory) + self.launches * devices[2, self.device]
        return devices[3, self.row_device] + np.bincount(self.row, cost)


def unpack(theta: Array, count: int) -> tuple[Array, Array]:
    """Scales `4 x devices` (compute, memory, launch, constant) and ratios `2 x kinds`."""
    values = np.exp(theta)
    return values[: 4 * count].reshape(4, count), values[4 * count :].reshape(2, len(KINDS))


def priors(group: RuntimeGroup, width: float = 1.0) -> tuple[Array, Array]:
    """Means and standard deviations of the parameters' logarithms."""
    scales = np.array(
        [
            (
                1e3 / (PEAK_SHARE[0] * device.gmacs_per_s),
                1 / (PEAK_SHARE[1] * device.gb_per_s),
                device.launch_ms,
                device.constant_ms,
            )
            for device in group.devices
        ]
    ).T
    ratios = np.ones((2, len(KINDS)))
    ratios[0, KINDS.index("depthwise")] = DEPTHWISE_PRIOR
    device_widths = np.repeat(DEVICE_WIDTHS, len(group.devices)) * width
    kind_widths = np.repeat(KIND_WIDTHS, len(KINDS)).reshape(2, -1) * width
    kind_widths[0, KINDS.index("dense")] = 0.01  # ratios are to this one
    means = np.log(np.concatenate([scales.ravel(), ratios.ravel()]))
    return means, np.concatenate([device_widths, kind_widths.ravel()])


def fit(group: RuntimeGroup, rows: list[Row], form: str = "sum", width: float = 1.0) -> Array:
    """The maximum a posteriori parameters: errors and parameters normal in logarithms."""
    problem = Problem(group, [(row.device, row.network) for row in rows])
    target = np.log([row.latency_ms for row in rows])
    means, widths = priors(group, width)

    def residuals(theta: Array) -> Array:
        misfit = np.log(problem.predict(theta, FORMS[form])) - target
        return np.concatenate([misfit / NOISE, (theta - means) / widths])

    solution = least_squares(residuals, means, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return np.asarray(solution.x)


def leave_out(
    group: RuntimeGroup, rows: list[Row], form: str = "sum", width: float = 1.0
) -> list[LeftOut]:
    """Every network, predicted from the other families of all devices of the runtime."""
    results = []
    for family in dict.fromkeys(row.network.family for row in rows):
        theta = fit(group, [row for row in rows if row.network.family != family], form, width)
        left = [row for row in rows if row.network.family == family]
        problem = Problem(group, [(row.device, row.network) for row in left])
        for row, predicted in zip(left, problem.predict(theta, FORMS[form]), strict=True):
            result = LeftOut(family, row.device, row.network.name, row.latency_ms, float(predicted))
            results.append(result)
    return results


def summary(left_out: Iterable[LeftOut]) -> dict[str, float]:
    """Median and largest error, absolute."""
    return error_summary([result.error for result in left_out])


def error_summary(errors: Iterable[float]) -> dict[str, float]:
    """Median and largest of relative errors, absolute."""
    sizes = np.abs(list(errors))
    return {
        "median_error": significant(np.median(sizes)),
        "largest_error": significant(sizes.max()),
    }


def family_rows(group: RuntimeGroup, left_out: list[LeftOut]) -> list[dict[str, Any]]:
    """One summary per left-out family and device, the table's own device first."""
    pairs = dict.fromkeys((result.device, result.family) for result in left_out)
    rows = []
    for device, family in sorted(pairs, key=lambda pair: group.names.index(pair[0])):
        part = [result for result in left_out if (result.device, result.family) == (device, family)]
        rows.append({"family": family, "device": device, "networks": len(part), **summary(part)})
    return rows


def check_ratios(group: RuntimeGroup, theta: Array) -> list[float]:
    """Published over predicted, for each figure that was not fitted to."""
    samples = [(check.device, _network(check.model, check.input_size)) for check in group.checks]
    if not samples:
        return []
    predicted = Problem(group, samples).predict(theta, FORMS["sum"])
    return [check.latency_ms / float(ms) for check, ms in zip(group.checks, predicted, strict=True)]


def bound_factors(left_out: list[LeftOut], ratios: list[float]) -> tuple[float, float]:
    """Upper bound over prediction, for blocks of covered kinds and for others.

    The largest error of any left-out family on any device of the runtime, in either direction: one
    board has too few networks to call its own largest error a bound. Kinds that no source of the
    board covers add what the figures that were not fitted to say about them.
    """
    largest = max(
        max(abs(result.error), result.measured_ms / result.predicted_ms - 1) for result in left_out
    )
    covered = 1 + largest
    uncovered = max(1.5, covered * max([1.0, *ratios]))
    return math.ceil(covered * 1000) / 1000, math.ceil(uncovered * 1000) / 1000


def roofline(
    group: RuntimeGroup, rows: list[Row], theta: Array, factors: tuple[float, float]
) -> Roofline:
    """The coefficients of the group's first device."""
    devices, kinds = unpack(theta, len(group.devices))
    compute, memory, launch, constant = (float(value) for value in devices[:, 0])
    own = [row.network for row in rows if row.device == group.names[0]]
    covered = {operation.kind for network in own for operation in network.operations}
    return Roofline(
        precision=group.precision,
        bound_factor=factors[0],
        uncovered_bound_factor=factors[1],
        constant_ms=significant(constant),
        covered_ops=sorted({FAMILY_OPS[n.family] for n in own if n.family in FAMILY_OPS}),
        kinds={
            kind: RooflineKind(
                ms_per_gmac=significant(compute * kinds[0, index]),
                ms_per_mb=significant(memory * kinds[1, index]),
                launch_ms=significant(launch * group.launches.get(kind, 1)),
                covered=kind in covered,
            )
            for index, kind in enumerate(KINDS)
        },
    )


def significant(value: float) -> float:
    """A plain float of four significant digits."""
    return float(f"{float(value):.4g}")


def device_document(
    group: RuntimeGroup, rows: list[Row], left_out: list[LeftOut], estimate: Roofline
) -> dict[str, Any]:
    """The content of the table's `device.yaml`."""
    sources = sorted({row.columns[-1] for row in rows})
    sources += [f"{check.source} (upper bound only)" for check in group.checks]
    return {
        "schema": 1,
        "name": group.folder,
        "aliases": [group.alias],
        "hardware": group.hardware,
        "runtime": group.runtime,
        "runtime_version": None,
        "threads": group.threads,
        "mode": None,
        "precision": group.precision,
        "export": dict(group.export),
        "provenance": {
            "kind": "estimated",
            "date": datetime.date.fromisoformat(DATE),
            "method": METHOD,
            "sources": sources,
        },
        "roofline": estimate.model_dump(),
        "certificate": {
            "kind": "left-out-families",
            **summary(left_out),
            "families": family_rows(group, left_out),
        },
    }


@dataclass(frozen=True)
class Outcome:
    """Everything that the fit of one group gave."""

    group: RuntimeGroup
    rows: list[Row]
    theta: Array
    left_out: list[LeftOut]
    roofline: Roofline

    @property
    def device_yaml(self) -> str:
        document = device_document(self.group, self.rows, self.left_out, self.roofline)
        return yaml.safe_dump(document, sort_keys=False, width=100)

    @property
    def sources_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row.columns for row in self.rows)
        return text.getvalue()


def fit_group(group: RuntimeGroup, rows: Iterable[Row]) -> Outcome:
    """Fit and validate the table of one group."""
    own = group_rows(group, rows)
    if not own:
        raise SystemExit(f"no rows for {', '.join(group.names)}")
    theta, left_out = fit(group, own), leave_out(group, own)
    factors = bound_factors(left_out, check_ratios(group, theta))
    return Outcome(group, own, theta, left_out, roofline(group, own, theta, factors))


def result_document(outcome: Outcome) -> dict[str, Any]:
    """Everything behind the claims: forms, widths of the priors, coefficients, every network."""
    group, rows = outcome.group, outcome.rows
    fitted = Problem(group, [(row.device, row.network) for row in rows])
    in_sample = fitted.predict(outcome.theta, FORMS["sum"])
    errors = in_sample / [row.latency_ms for row in rows] - 1
    own = [result for result in outcome.left_out if result.device == group.names[0]]
    devices, kinds = unpack(outcome.theta, len(group.devices))
    ratios = check_ratios(group, outcome.theta)
    return {
        "table": group.folder,
        "form": "sum",
        "left_out": summary(outcome.left_out),
        "left_out_on_the_device": summary(own),
        "in_sample": error_summary(errors),
        "families": family_rows(group, outcome.left_out),
        "forms": {form: summary(leave_out(group, rows, form)) for form in FORMS},
        "prior_widths": {
            f"x{width}": summary(leave_out(group, rows, width=width)) for width in (0.5, 2.0)
        },
        "bound_factor": outcome.roofline.bound_factor,
        "uncovered_bound_factor": outcome.roofline.uncovered_bound_factor,
        "checks": [
            {
                **vars(check),
                "latency_ms": significant(check.latency_ms),
                "published_over_predicted": significant(ratio),
            }
            for check, ratio in zip(group.checks, ratios, strict=True)
        ],
        "device_scales": {
            name: dict(
                zip(
                    ("ms_per_gmac", "ms_per_mb", "launch_ms", "constant_ms"),
                    map(significant, devices[:, index]),
                    strict=True,
                )
            )
            for index, name in enumerate(group.names)
        },
        "kind_ratios": {
            kind: {"compute": significant(kinds[0, index]), "memory": significant(kinds[1, index])}
            for index, kind in enumerate(KINDS)
        },
        "networks": [
            {
                **vars(result),
                "predicted_ms": significant(result.predicted_ms),
                "error": significant(result.error),
            }
            for result in outcome.left_out
        ],
    }


def write(outcomes: list[Outcome], out: Path) -> None:
    """Write both tables and the result file below `out`."""
    for outcome in outcomes:
        folder = out / "latency_tables" / outcome.group.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device.yaml").write_text(outcome.device_yaml, encoding="utf-8")
        (folder / "sources.csv").write_text(outcome.sources_csv, encoding="utf-8")
    results = {"date": DATE, "tables": [result_document(outcome) for outcome in outcomes]}
    (out / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    (out / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def print_outcome(outcome: Outcome) -> None:
    """The errors as a table for people."""
    print(f"\n{outcome.group.folder} ({outcome.group.precision}), left-out families:")
    print(f"  {'family':14}{'device':22}{'networks':>9}{'median':>9}{'largest':>9}")
    for row in family_rows(outcome.group, outcome.left_out):
        errors = f"{row['median_error']:9.1%}{row['largest_error']:9.1%}"
        print(f"  {row['family']:14}{row['device']:22}{row['networks']:9}{errors}")
    overall = summary(outcome.left_out)
    count = len(outcome.left_out)
    errors = f"{overall['median_error']:9.1%}{overall['largest_error']:9.1%}"
    print(f"  {'all':36}{count:9}{errors}")
    estimate = outcome.roofline
    print(f"  bound x {estimate.bound_factor}, uncovered x {estimate.uncovered_bound_factor}")


def default_sources() -> list[Path]:
    """The committed rows of both tables."""
    return [ROOT / "latency_tables" / group.folder / "sources.csv" for group in GROUPS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=Path, help="a CSV of published rows for both tables")
    parser.add_argument("--out", type=Path, default=ROOT, help="where latency_tables/ is written")
    options = parser.parse_args()
    rows = read_rows([options.sources] if options.sources else default_sources())
    outcomes = [fit_group(group, rows) for group in GROUPS]
    write(outcomes, options.out)
    for outcome in outcomes:
        print_outcome(outcome)


if __name__ == "__main__":
    main()
