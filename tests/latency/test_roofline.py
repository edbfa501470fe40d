"""Roofline estimates: what they answer, and that the committed tables come from the fit."""

import importlib
import math
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import TableError
from nas.latency.roofline import (
    KINDS,
    Roofline,
    RooflineKind,
    block_operations,
    estimate_block_ms,
)
from nas.space.blocks import OPS, make_block

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "latency"))
fit_estimates = importlib.import_module("fit_estimates")

TABLES = ("jetson-nano-tensorrt", "raspberry-pi-4-xnnpack-4")


def load_roofline(table):
    text = (ROOT / "latency_tables" / table / "device.yaml").read_text(encoding="utf-8")
    return Roofline.model_validate(yaml.safe_load(text)["roofline"])


ROOFLINES = {table: load_roofline(table) for table in TABLES}
NANO, PI = ROOFLINES.values()

channels = st.integers(2, 1280)
activations = st.sampled_from(["none", "relu", "relu6", "hardswish", "silu"])


def op_params(op):
    spatial = {"kernel": st.sampled_from([1, 3, 5, 7]), "stride": st.sampled_from([1, 2])}
    own = {
        "inverted_residual": {
            **spatial,
            "hidden": channels,
            "se": st.sampled_from([0, 8, 64]),
            "gate": st.just("hardsigmoid"),
            "residual": st.just(False),
        },
        "fused_inverted_residual": {**spatial, "hidden": channels, "residual": st.just(False)},
        "residual": {**spatial, "hidden": channels},
        "shuffle_unit": {**spatial, "hidden": channels},
        "fire": {**spatial, "hidden": channels},
        "head": {},
        "classifier": {"hidden": st.sampled_from([0, 1024]), "pooling": st.just("mean")},
    }.get(op, spatial)
    return st.fixed_dictionaries({"activation": activations, **own})


@st.composite
def blocks(draw):
    op = draw(st.sampled_from(sorted(OPS)))
    size = (draw(st.integers(1, 320)), draw(st.integers(1, 320)))
    in_channels, out_channels = draw(channels), draw(channels)
    if op in ("shuffle_unit", "fire"):
        out_channels *= 2
    params = draw(op_params(op))
    if op == "inverted_residual" and params["stride"] == 1 and draw(st.booleans()):
        params["residual"], out_channels = True, in_channels
    return make_block(op, size, in_channels, out_channels, params)


def inverted_residual(**changes):
    params = {
        "activation": "relu",
        "gate": "hardsigmoid",
        "hidden": 64,
        "kernel": 3,
        "residual": False,
        "se": 0,
        "stride": 1,
        **changes,
    }
    return make_block("inverted_residual", (14, 14), 16, 16, params)


HEAD = make_block("head", (7, 7), 96, 576, {"activation": "relu"})


@pytest.mark.parametrize("table", TABLES)
@given(block=blocks())
def test_every_block_is_answered_above_zero_and_below_its_bound(table, block):
    roofline = ROOFLINES[table]
    latency_ms, upper_ms = estimate_block_ms(roofline, block, roofline.precision)
    assert 0 < latency_ms < upper_ms
    assert math.isfinite(upper_ms)


@pytest.mark.parametrize("table", TABLES)
@given(block=blocks(), more=st.integers(1, 64))
def test_a_larger_input_or_output_is_never_faster(table, block, more):
    roofline = ROOFLINES[table]
    params = dict(block.params)
    size = (block.height, block.width)
    changes = [
        ((block.height + more, block.width), 0, 0),
        ((block.height, block.width + more), 0, 0),
    ]
    # A unit that splits its channels, and a sum without projection, do less than one that has both.
    if not params.get("residual") and block.op not in ("residual", "shuffle_unit"):
        changes.append((size, 0, 2 * more))
    if not block.op.endswith("inverted_residual") and block.op not in ("residual", "shuffle_unit"):
        changes.append((size, more, 0))
    latency_ms, upper_ms = estimate_block_ms(roofline, block, roofline.precision)
    for new_size, more_in, more_out in changes:
        channels_in, channels_out = block.in_channels + more_in, block.out_channels + more_out
        larger = make_block(block.op, new_size, channels_in, channels_out, params)
        larger_ms, larger_upper_ms = estimate_block_ms(roofline, larger, roofline.precision)
        assert larger_ms >= latency_ms
        assert larger_upper_ms >= upper_ms


@given(hidden=st.integers(17, 1000), more=st.integers(1, 64), se=st.sampled_from([0, 8]))
def test_a_wider_expansion_is_never_faster(hidden, more, se):
    narrow, wide = (inverted_residual(hidden=value, se=se) for value in (hidden, hidden + more))
    assert estimate_block_ms(NANO, narrow, "fp16") < estimate_block_ms(NANO, wide, "fp16")


def test_an_operation_costs_its_launch_its_macs_and_its_bytes():
    head = PI.kinds["pointwise"]
    elements = 49 * 96 + 96 * 576 + 49 * 576
    expected = head.launch_ms + 49 * 96 * 576e-9 * head.ms_per_gmac
    expected += elements * 4e-6 * head.ms_per_mb
    latency_ms, upper_ms = estimate_block_ms(PI, HEAD, "fp32")
    assert latency_ms == pytest.approx(expected)
    assert upper_ms == pytest.approx(expected * PI.bound_factor)


def test_a_block_is_lowered_to_what_the_runtime_does():
    block = inverted_residual(activation="hardswish", se=16, residual=True)
    kinds = [operation.kind for operation in block_operations(block)]
    expected = "pointwise hardswish depthwise hardswish squeeze_excite pointwise add"
    assert kinds == expected.split()


INNER = {"activation": "relu", "hidden": 16, "kernel": 3, "stride": 1}
LOWERED = [
    ("fused_inverted_residual", {"activation": "silu", "residual": True},
     "dense silu pointwise add"),
    ("residual", {}, "dense dense add"),
    ("residual", {"stride": 2}, "dense dense pointwise add"),
    ("shuffle_unit", {}, "copy pointwise depthwise pointwise copy copy"),
    ("shuffle_unit", {"stride": 2},
     "depthwise pointwise pointwise depthwise pointwise copy copy"),
    ("fire", {"stride": 2}, "pool pointwise pointwise dense"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "changes", "kinds"), LOWERED)
def test_families_are_lowered_to_what_the_runtime_does(op, changes, kinds):
    block = make_block(op, (14, 14), 16, 16, {**INNER, **changes})
    assert [operation.kind for operation in block_operations(block)] == kinds.split()


def test_a_shuffle_moves_every_value_it_reads_and_writes():
    block = make_block("shuffle_unit", (14, 14), 16, 16, INNER)
    copies = [o for o in block_operations(block) if o.kind == "copy"]
    assert {(o.macs, o.elements) for o in copies} == {(0, 2 * 16 * 14 * 14)}


@pytest.mark.parametrize(
    ("op", "changes", "nano", "pi"),
    [
        ("fire", {}, True, False),
        ("residual", {}, True, False),
        ("shuffle_unit", {}, False, False),
        ("fused_inverted_residual", {"residual": False}, False, False),
        ("inverted_residual", {"residual": False, "se": 0, "gate": "hardsigmoid"}, False, True),
        ("inverted_residual",
         {"residual": False, "se": 0, "gate": "hardsigmoid", "activation": "silu"}, False, False),
    ],
)  # fmt: skip
def test_families_without_a_source_of_the_device_have_the_wider_bound(op, changes, nano, pi):
    block = make_block(op, (14, 14), 16, 16, {**INNER, **changes})
    for roofline, covered in ((NANO, nano), (PI, pi)):
        latency_ms, upper_ms = estimate_block_ms(roofline, block, roofline.precision)
        factor = roofline.bound_factor if covered else roofline.uncovered_bound_factor
        assert upper_ms == pytest.approx(latency_ms * factor)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({}, "depthwise"), ({"se": 16}, "squeeze_excite"), ({"activation": "hardswish"}, "hardswish")],
)
def test_kinds_without_a_source_of_the_device_have_the_wider_bound(changes, kind):
    assert not NANO.kinds[kind].covered
    latency_ms, upper_ms = estimate_block_ms(NANO, inverted_residual(**changes), "fp16")
    assert upper_ms == pytest.approx(latency_ms * NANO.uncovered_bound_factor)
    assert upper_ms >= 1.5 * latency_ms


def test_the_sources_of_each_device_cover_what_they_contain():
    covered = {table: {k for k in KINDS if ROOFLINES[table].kinds[k].covered} for table in TABLES}
    assert covered[TABLES[0]] == {"dense", "pointwise", "linear", "pool", "add"}
    assert covered[TABLES[1]] == set(KINDS)


@pytest.mark.parametrize("precision", ["fp32", "int8", "float16", ""])
def test_another_precision_is_refused(precision):
    with pytest.raises(TableError) as error:
        estimate_block_ms(NANO, HEAD, precision)
    assert str(error.value) == (
        "an estimated table answers only the precision that its sources were measured at; "
        f"got {precision!r}; allowed: fp16"
    )


def test_a_roofline_without_all_kinds_is_refused():
    document = NANO.model_dump()
    del document["kinds"]["pool"]
    with pytest.raises(ValidationError, match=r"every kind; missing: \['pool'\]"):
        Roofline.model_validate(document)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["ms_per_gmac", "ms_per_mb", "launch_ms"])
def test_a_coefficient_is_finite_and_not_negative(field, value):
    document = NANO.kinds["dense"].model_dump() | {field: value}
    with pytest.raises(ValidationError):
        RooflineKind.model_validate(document)


def test_the_uncovered_bound_is_never_below_one_and_a_half():
    with pytest.raises(ValidationError, match="greater than or equal to 1.5"):
        Roofline.model_validate(NANO.model_dump() | {"uncovered_bound_factor": 1.4})


@pytest.mark.parametrize("group", fit_estimates.GROUPS, ids=lambda group: group.folder)
def test_the_fit_on_the_committed_sources_gives_the_committed_table(group):
    folder = ROOT / "latency_tables" / group.folder
    outcome = fit_estimates.fit_group(group, fit_estimates.read_rows([folder / "sources.csv"]))
    assert outcome.sources_csv == (folder / "sources.csv").read_text(encoding="utf-8")
    assert outcome.device_yaml == (folder / "device.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("group", fit_estimates.GROUPS, ids=lambda group: group.folder)
def test_every_left_out_network_is_within_its_bound(group):
    folder = ROOT / "latency_tables" / group.folder
    rows = fit_estimates.read_rows([folder / "sources.csv"])
    left_out = fit_estimates.leave_out(group, rows)
    assert len(left_out) == len(rows)
    bound = ROOFLINES[group.folder].bound_factor
    assert all(result.measured_ms <= result.predicted_ms * bound for result in left_out)
    assert fit_estimates.summary(left_out)["median_error"] <= 0.35


def test_a_file_with_other_columns_is_refused_in_one_line(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("device,ms\nnano,3\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"rows\.csv: the columns are"):
        fit_estimates.read_rows([path])
