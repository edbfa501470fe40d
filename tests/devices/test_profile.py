"""Profiling: what is measured, the table that comes of it, and going on after a stop."""

from functools import cache

import numpy as np
import pytest

from nas.devices.bundle import read_result, write_bundle
from nas.devices.calibrate import MODELS, calibrate, fit_calibration, shares
from nas.devices.profile import (
    ProfileSettings,
    check_resolutions,
    draw_models,
    finish,
    job_id_of,
    make_plan,
    profile,
)
from nas.devices.transports.local import Local
from nas.documents import parse_yaml
from nas.errors import InputError, MeasurementError, OptionError, SpaceError, TableError
from nas.export.graph import GraphTarget
from nas.latency.predict import Predictor
from nas.latency.table import load_table, read_table
from nas.space import load_space
from nas.space.enumerate import distinct_blocks
from nas.space.sample import count, sample
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

from .conftest import QUICK, Board

# 40 models to fit on, 100 for the bound and 30 for the certificate are all different: at one
# resolution this space has (2 + 4) x (3 + 9 + 27) = 234 networks of few blocks.
TINY = """\
schema: 1
name: NAME
description: for tests
plans:
  small: {resolutions: [8, 16], stem_stride: 1, strides: [2, 2]}
stem: {channels: 8, activation: relu}
stages:
  - {op: depthwise_separable, channels: 8, depth: [1, 2], kernel: [3, 5], activation: relu}
  - {channels: 16, depth: [1, 2, 3], expand: [1, 2, 3], activation: relu}
"""
FIT_MODELS, _ = shares(MODELS)
DEVICE = "test-onnxruntime"


@cache
def space(name="tiny"):
    text = TINY.replace("NAME", name)
    return SearchSpace(parse_yaml(text, SpaceFile, SpaceError, "tiny.yaml"))


def settings(**changes):
    given = {
        "name": DEVICE, "space": space(), "plan": "small", "resolutions": (8,),
        "classes": (2, 10), "effort": QUICK, **changes,
    }  # fmt: skip
    return ProfileSettings(**given)


def test_a_real_profile_of_this_machine(tmp_path):
    seen = []
    table = profile(
        settings(aliases=("test",), resolutions=(8, 16)),
        Local(),
        tmp_path,
        lambda done, total: seen.append((done, total)),
    )
    blocks = distinct_blocks(space(), "small", (8, 16), (2, 10))
    total = QUICK.rounds * (len(blocks) + MODELS)
    assert seen[-1] == (total, total)
    assert table == read_table(tmp_path / DEVICE) == load_table(str(tmp_path / DEVICE))
    assert {key.block for key in table.rows} == set(blocks)
    assert all(0 < row.latency_ms <= row.p95_ms * 1.001 for row in table.rows.values())
    assert all(row.samples == 4 for row in table.rows.values())
    device = table.device
    assert (device.name, device.aliases, device.runtime) == (DEVICE, ["test"], "onnxruntime")
    assert (device.threads, device.precision, table.provenance) == (1, "fp32", "measured")
    assert device.export.opset == GraphTarget().opset
    assert device.session.reference_ms > 0 and device.session.repeated == 0
    assert {"load", "usable_cores", "processor"} <= set(device.provenance.machine)
    (calibration,) = device.calibrations
    assert (calibration.space, calibration.plan, calibration.resolutions) == (
        "tiny", "small", [8, 16],
    )  # fmt: skip
    assert (calibration.fit_models, calibration.bound_models) == (40, 100)
    certificate = calibration.certificate
    assert certificate.models == len(certificate.points) == 30
    assert {path.name for path in tmp_path.iterdir()} <= {DEVICE, "work"}, "no leftovers"
    predict = Predictor(table, space(), "small", classes=7)
    found = predict.architecture(sample(space(), "small", np.random.default_rng(1)))
    assert found.provenance == "measured" and found.interpolated
    assert 0 < found.predicted_ms


def test_a_profile_that_was_cut_off_goes_on_where_it_was(tmp_path):
    board, seen = Board(lost_after=100), []
    with pytest.raises(MeasurementError, match="cut off"):
        profile(settings(), board, tmp_path)
    assert not (tmp_path / DEVICE).exists()
    table = profile(settings(), board, tmp_path, lambda done, total: seen.append(done))
    assert len(board.measured) == len(set(board.measured)), "nothing twice"
    assert seen[-1] == len(board.measured)
    assert read_table(tmp_path / DEVICE) == table
    assert {path.name for path in tmp_path.iterdir()} <= {DEVICE, "work"}, "no leftovers"


def test_a_row_is_the_lower_quartile_and_the_spread_of_the_rounds(tmp_path):
    slow = {0: 2.0, 1: 1.0, 2: 1.0, 3: 8.0}
    board = Board(latency_ms=lambda item, number: slow[number])
    table = profile(settings(effort=QUICK._replace(rounds=4)), board, tmp_path)
    row = next(iter(table.rows.values()))
    assert (row.latency_ms, row.spread_ms, row.samples) == (1.0, 0.5, 20)
    assert row.p95_ms == pytest.approx(1.2)


def test_what_the_board_says_is_in_the_table(tmp_path):
    table = profile(settings(), Board(processor="Pi 4", version="1.10.0"), tmp_path)
    device = table.device
    assert (device.hardware, device.runtime_version) == ("Pi 4", "1.10.0")
    assert device.provenance.machine["architecture"] == "aarch64"
    assert device.provenance.machine["load"] == 0.2
    assert (device.export.opset, device.export.ir_version, device.export.hardswish) == (
        13, 7, False,
    )  # fmt: skip


def test_a_board_without_a_meter_has_no_energies(tmp_path, board):
    table = profile(settings(), board, tmp_path)
    assert {row.energy_mj for row in table.rows.values()} == {None}
    assert not [name for name in table.device.provenance.machine if "energy" in name]


@cache
def block_counts():
    return [len(model.blocks) for model in draw_models(settings())]


def energy_of(item):
    """Whole models need four fifths of the sums of their blocks."""
    kind, name = item.split(" ", 1)
    return 2.0 if kind == "block" else 0.8 * 2.0 * block_counts()[int(name)]


def test_a_boards_energies_are_in_the_table(tmp_path):
    table = profile(settings(), Board(energy_mj=energy_of), tmp_path)
    assert {row.energy_mj for row in table.rows.values()} == {2.0}
    machine = table.device.provenance.machine
    assert machine["energy_meter"] == "RAPL package-0"
    assert machine["energy_sum_mape"] == pytest.approx(0.25)


def test_energies_of_two_meters_are_not_mixed(tmp_path):
    first = profile(settings(), Board(energy_mj=energy_of), tmp_path)
    battery = Board(energy_mj=lambda item: 9.0, meter="battery BAT0")
    both = profile(settings(resolutions=(16,)), battery, tmp_path)
    assert {row.energy_mj for row in both.rows.values()} == {2.0, None}
    assert all(both.rows[key] == row for key, row in first.rows.items())
    assert both.device.provenance.machine["energy_meter"] == "RAPL package-0"
    without = profile(settings(space=space("other")), Board(), tmp_path)
    assert without.device.provenance.machine["energy_meter"] == "RAPL package-0"


@pytest.mark.parametrize(
    "changed",
    [
        settings(seed=1),
        settings(effort=QUICK._replace(min_runs=3)),
        settings(resolutions=(16,)),
        settings(threads=2),
        settings(runtime="openvino"),
        settings(space=space("other"), classes=(2, 10, 100)),
    ],
)
def test_other_settings_are_another_job(tmp_path, changed):
    jobs = {job_id_of(make_plan(one, tmp_path, "1.30").job) for one in (settings(), changed)}
    assert len(jobs) == 2
    assert job_id_of(make_plan(settings(), tmp_path, "1.30").job) in jobs


def test_the_default_number_of_classes_is_always_measured(tmp_path, board):
    """The whole models have it, so their sums need it."""
    table = profile(settings(classes=(37,)), board, tmp_path)
    classes = {key.block.out_channels for key in table.rows if key.block.op == "classifier"}
    assert classes == {10, 37}


def test_a_table_is_extended(tmp_path, board):
    first = profile(settings(aliases=("one",)), board, tmp_path)
    other = settings(space=space("other"), resolutions=(16,), aliases=("two",))
    both = profile(other, board, tmp_path)
    assert set(first.rows) < set(both.rows)
    assert both.device.aliases == ["one", "two"]
    assert [c.space for c in both.device.calibrations] == ["tiny", "other"]
    assert both.calibration("tiny", "small", "fp32") == first.device.calibrations[0]


def test_another_resolution_leaves_the_first_one_calibrated(tmp_path, board):
    profile(settings(resolutions=(8,)), board, tmp_path)
    table = profile(settings(resolutions=(16,)), board, tmp_path)
    assert [c.resolutions for c in table.device.calibrations] == [[8, 16]]


def test_what_an_earlier_profile_measured_is_not_measured_again(tmp_path, board):
    first = profile(settings(resolutions=(8,)), board, tmp_path)
    before = {item for _, item in board.measured if item.startswith("block")}
    both = profile(settings(resolutions=(16,)), board, tmp_path)
    again = [item for _, item in board.measured if item in before]
    assert len(again) == QUICK.rounds * len(before)
    assert all(both.rows[key] == row for key, row in first.rows.items())
    assert len(both.rows) > len(first.rows)


REFUSED = (
    "{folder} holds a table of another device, runtime or number of threads; "
    "got {got!r}; allowed: {allowed}; try: another --device name or --out folder"
)


def refusal(tmp_path, board, **changes):
    with pytest.raises(TableError) as caught:
        profile(settings(**changes), board, tmp_path)
    assert board.measured == []
    return str(caught.value)


def test_a_folder_of_another_device_is_left_alone(tmp_path, board):
    profile(settings(), board, tmp_path)
    before = (tmp_path / DEVICE / "device.yaml").read_text()
    got = "a board, onnxruntime 1.30.0, 1 threads"
    for other, changes, allowed in [
        (Board(), {"threads": 2}, "a board, onnxruntime 1.30.0, 2 threads"),
        (Board(), {"runtime": "openvino"}, "a board, openvino 1.30.0, 1 threads"),
        (Board(processor="new"), {}, "new, onnxruntime 1.30.0, 1 threads"),
        (Board(version="1.31.0"), {}, "a board, onnxruntime 1.31.0, 1 threads"),
    ]:
        assert refusal(tmp_path, other, **changes) == REFUSED.format(
            folder=tmp_path / DEVICE, got=got, allowed=allowed
        )
    assert (tmp_path / DEVICE / "device.yaml").read_text() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path, board):
    (tmp_path / DEVICE).mkdir()
    (tmp_path / DEVICE / "thesis.tex").write_text("years of work")
    assert "is not a latency table: it has no device.yaml" in refusal(tmp_path, board)
    assert [path.name for path in (tmp_path / DEVICE).iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["My Board", "../elsewhere", "", "-x", "board\n"])
def test_a_name_that_cannot_be_a_folders_is_refused_before_anything_is_measured(
    tmp_path, board, name
):
    with pytest.raises(OptionError) as caught:
        profile(settings(name=name), board, tmp_path)
    assert str(caught.value).startswith(f"a device's name is also its folder's; got {name!r}; ")
    assert board.measured == []


def test_a_result_that_was_carried_by_hand_makes_the_same_table(tmp_path, board):
    """As `--bundle` and `--import` do: nothing is known of the board before the result is here."""
    plan = make_plan(settings(), tmp_path / "tables", None)
    bundle, result = tmp_path / "out.zip", tmp_path / "out.results.json"
    job = write_bundle(bundle, plan.job)
    board.run(bundle, job, result, lambda *_: None)
    again = make_plan(settings(), tmp_path / "tables", None)
    found = read_result(result, again.job, job_id_of(again.job))
    by_hand = finish(again, found, tmp_path / "tables")
    direct = profile(settings(), Board(), tmp_path / "direct")
    assert by_hand.rows == direct.rows
    assert by_hand.device.calibrations == direct.device.calibrations


# The models


def test_drawn_models_are_different_and_those_to_fit_on_span_the_range():
    models = draw_models(settings(resolutions=(8, 16)))
    macs = [model.cost.macs for model in models]
    assert len({model.id for model in models}) == len(models) == MODELS
    assert (macs[0], macs[FIT_MODELS - 1]) == (min(macs), max(macs))
    assert macs[:FIT_MODELS] == sorted(macs[:FIT_MODELS])
    assert {model.classes for model in models} == {10}
    rest = macs[FIT_MODELS:]
    assert rest != sorted(rest)


def test_drawn_models_follow_the_seed_and_the_resolutions():
    one, two, other = (draw_models(settings(seed=seed)) for seed in (0, 0, 1))
    assert one == two
    assert {model.id for model in one} != {model.id for model in other}
    assert {model.resolution for model in one} == {8}


def test_a_space_of_too_few_networks(tmp_path):
    path = tmp_path / "few.yaml"
    path.write_text(TINY.replace("NAME", "few").replace("depth: [1, 2, 3], ", ""))
    few = load_space(path)
    assert count(few, "small") == 36
    with pytest.raises(MeasurementError) as caught:
        draw_models(settings(space=few, resolutions=(8,)))
    assert str(caught.value) == (
        "few has too few networks for a calibration and a certificate; "
        "got '18 distinct ones drawn'; allowed: at least 92"
    )


def test_a_space_of_few_networks_is_shared_out():
    assert shares(170) == (40, 100)
    assert shares(92) == (21, 54)


# The calibration


def measured_models(seed, noise=0.0):
    rng = np.random.default_rng(seed)
    totals, counts = rng.uniform(1, 20, MODELS), rng.integers(5, 25, MODELS)
    clean = 0.3 + 0.9 * totals - 0.02 * counts
    return totals, counts, clean[:, None] * rng.normal(1, noise, (MODELS, 4))


def test_the_fit_recovers_known_coefficients():
    totals, counts, rounds = measured_models(0)
    found = fit_calibration(totals[:FIT_MODELS], counts[:FIT_MODELS], rounds[:FIT_MODELS, 0])
    assert found == pytest.approx((0.3, 0.9, -0.02))


def test_noise_that_would_turn_the_factor_round_only_scales():
    totals, counts = np.array([1.0, 2, 3]), np.array([5, 9, 7])
    constant, factor, per_block = fit_calibration(totals, counts, np.array([3.0, 2, 1]))
    assert (constant, per_block) == (0, 0) and factor > 0


def test_a_perfect_machine_has_a_perfect_certificate():
    found = calibrate("tiny", "small", (8, 16), *measured_models(0))
    assert (found.sum_factor, found.per_block_ms) == (0.9, -0.02)
    assert (found.lower_factor, found.upper_factor) == (pytest.approx(1), pytest.approx(1))
    certificate = found.certificate
    assert certificate.mape == pytest.approx(0, abs=1e-5)
    assert (certificate.within_5, certificate.within_10) == (1, 1)
    assert certificate.rank_correlation == pytest.approx(1)
    assert certificate.repeat_difference == 0


def test_the_interval_and_the_certificate_come_from_models_that_were_not_fitted_on():
    totals, counts, rounds = measured_models(1, noise=0.03)
    found = calibrate("tiny", "small", (8, 16), totals, counts, rounds)
    rounds[FIT_MODELS : FIT_MODELS + 2] *= 2  # of the bound's hundred: the second largest counts
    worse = calibrate("tiny", "small", (8, 16), totals, counts, rounds)
    assert worse.sum_factor == found.sum_factor
    assert worse.certificate.points == found.certificate.points
    assert worse.upper_factor > 1.8 > found.upper_factor > 1 > found.lower_factor
    assert worse.certificate.coverage == 1
    rounds[-1] *= 2  # one of the certificate's thirty
    last = calibrate("tiny", "small", (8, 16), totals, counts, rounds)
    assert last.upper_factor == worse.upper_factor
    assert last.certificate.mape > worse.certificate.mape
    assert last.certificate.points[:-1] == worse.certificate.points[:-1]


def test_rounds_that_differ_are_shown():
    totals, counts, rounds = measured_models(2)
    rounds[:, 1::2] *= 1.25
    found = calibrate("tiny", "small", (8, 16), totals, counts, rounds)
    assert found.certificate.repeat_difference == pytest.approx(0.2)


def test_resolutions_default_to_those_of_the_plan():
    assert check_resolutions(space(), "small", ()) == (8, 16)
    assert check_resolutions(space(), "small", [16]) == (16,)
    with pytest.raises(InputError) as caught:
        check_resolutions(space(), "small", [16, 17])
    assert str(caught.value) == (
        "plan small of tiny has no such resolution; got 17; allowed: 8, 16"
    )
