"""Profiling: what is measured, the calibration, and going on after a stop."""

import json
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from nas.devices import profile as profiling
from nas.devices import session
from nas.devices.calibrate import (
    BOUND_MODELS,
    CERTIFICATE_MODELS,
    FIT_MODELS,
    calibrate,
    fit_calibration,
)
from nas.devices.measure import Effort, Timing
from nas.devices.profile import ProfileSettings, check_resolutions, draw_models, profile
from nas.devices.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
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

# 12 models to fit on, 100 for the bound and 30 for the certificate must all be different: at one
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
MODELS = FIT_MODELS + BOUND_MODELS + CERTIFICATE_MODELS
QUICK = Effort(rounds=2, warmup_runs=0, min_runs=2, min_time_ns=0)
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


@dataclass(frozen=True)
class Nothing:
    """A runtime whose inferences do nothing; counts the models it loads."""

    name: str = "nothing"
    version: str = "1"
    threads: int = 1
    target: GraphTarget = field(default_factory=GraphTarget)
    loaded: list[int] = field(default_factory=list)

    def load(self, model):
        self.loaded.append(len(model))
        return lambda: None


class Stopped(Exception):  # noqa: N818
    pass


def stop_after(number):
    def progress(done, total):
        if done == number:
            raise Stopped

    return progress


@pytest.fixture(autouse=True)
def steady_times(request, monkeypatch):
    """Times that follow from the order of the calls, but for the test that really measures."""
    if "real" in request.node.name:
        monkeypatch.setattr(session, "MOST_DISTURBED", 1.0)  # whatever else runs on this machine
        return
    rng = np.random.default_rng(0)

    def timing(run, effort, clock):
        return Timing(float(rng.uniform(1, 2)), 2.0, effort.min_runs)

    monkeypatch.setattr(session, "time_runs", timing)
    monkeypatch.setattr(session.Session, "_time_reference", lambda self, run: 1.0)
    monkeypatch.setattr(session, "STRETCH_NS", 0)


def test_a_real_profile_of_a_small_space(tmp_path):
    seen = []
    table = profile(
        settings(aliases=("test",), resolutions=(8, 16)),
        OnnxRuntimeCpu(),
        tmp_path,
        lambda done, total: seen.append((done, total)),
    )
    blocks = distinct_blocks(space(), "small", (8, 16), (2, 10))
    total = QUICK.rounds * (len(blocks) + MODELS)
    assert seen[:total] == [(done, total) for done in range(1, total + 1)]
    repeated = table.device.session.repeated
    assert seen[-1] == (total + repeated, total + repeated)
    assert table == read_table(tmp_path / DEVICE) == load_table(str(tmp_path / DEVICE))
    assert {key.block for key in table.rows} == set(blocks)
    assert all(row.latency_ms > 0 and row.samples == 4 for row in table.rows.values())
    device = table.device
    assert (device.name, device.aliases, device.runtime) == (DEVICE, ["test"], "onnxruntime")
    assert (device.threads, device.precision, table.provenance) == (1, "fp32", "measured")
    assert device.export.opset == GraphTarget().opset
    (calibration,) = device.calibrations
    assert (calibration.space, calibration.plan, calibration.resolutions) == (
        "tiny", "small", [8, 16],
    )  # fmt: skip
    assert (calibration.fit_models, calibration.bound_models) == (12, 100)
    certificate = calibration.certificate
    assert certificate.models == len(certificate.points) == 30
    assert sorted(path.name for path in tmp_path.iterdir() if "test-" in path.name) == [DEVICE]
    predict = Predictor(table, space(), "small", classes=7)
    found = predict.architecture(sample(space(), "small", np.random.default_rng(1)))
    assert found.provenance == "measured" and found.interpolated
    assert 0 < found.predicted_ms


def test_a_stopped_profile_goes_on_where_it_was(tmp_path):
    total = QUICK.rounds * (len(distinct_blocks(space(), "small", (8,), (2, 10))) + MODELS)
    with pytest.raises(Stopped):
        profile(settings(), Nothing(), tmp_path, stop_after(10))
    assert not (tmp_path / DEVICE).exists()
    with pytest.raises(Stopped):
        profile(settings(), Nothing(), tmp_path, stop_after(total - 5))
    runtime, seen = Nothing(), []
    table = profile(settings(), runtime, tmp_path, lambda done, total: seen.append(done))
    assert len(runtime.loaded) == 5 + 1, "and the reference"
    assert seen[-1] == total
    assert read_table(tmp_path / DEVICE) == table
    assert [path.name for path in tmp_path.glob(".*.jsonl")] == []


def journal(folder):
    return folder / f".{DEVICE}.partial.jsonl"


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    with pytest.raises(Stopped):
        profile(settings(), Nothing(), tmp_path, stop_after(10))
    text = journal(tmp_path).read_text()
    journal(tmp_path).write_text(text[:-4])
    runtime = Nothing()
    with pytest.raises(Stopped):
        profile(settings(), runtime, tmp_path, stop_after(10))
    assert len(runtime.loaded) == 1 + 1, "and the reference"
    lines = journal(tmp_path).read_text().splitlines()
    assert len(lines) == 11
    assert all(json.loads(line) for line in lines[1:])


@pytest.mark.parametrize(
    ("changed_settings", "changed_runtime"),
    [
        (settings(seed=1), Nothing()),
        (settings(effort=replace(QUICK, min_runs=3)), Nothing()),
        (settings(resolutions=(16,)), Nothing()),
        (settings(), Nothing(version="2")),
        (settings(), Nothing(threads=2)),
    ],
)
def test_measurements_under_other_circumstances_are_not_used(
    tmp_path, changed_settings, changed_runtime
):
    with pytest.raises(Stopped):
        profile(settings(), Nothing(), tmp_path, stop_after(10))
    with pytest.raises(Stopped):
        profile(changed_settings, changed_runtime, tmp_path, stop_after(7))
    assert len(changed_runtime.loaded) == 7 + 1, "and the reference"


def test_the_order_is_random_and_follows_the_seed(tmp_path, monkeypatch):
    def order(seed):
        folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        with pytest.raises(Stopped):
            profile(settings(seed=seed), Nothing(), folder, stop_after(30))
        return [json.loads(line)[1] for line in journal(folder).read_text().splitlines()[1:]]

    assert order(0) == order(0) != order(1)
    assert {name.split()[0] for name in order(0)} == {"block", "model"}


def test_the_default_number_of_classes_is_always_measured(tmp_path):
    """The whole models have it, so their sums need it."""
    table = profile(settings(classes=(37,)), Nothing(), tmp_path)
    classes = {key.block.out_channels for key in table.rows if key.block.op == "classifier"}
    assert classes == {10, 37}


def test_a_table_is_extended(tmp_path):
    first = profile(settings(aliases=("one",)), Nothing(), tmp_path)
    other = settings(space=space("other"), resolutions=(16,), aliases=("two",))
    both = profile(other, Nothing(), tmp_path)
    assert set(first.rows) < set(both.rows)
    assert both.device.aliases == ["one", "two"]
    assert [c.space for c in both.device.calibrations] == ["tiny", "other"]
    assert both.calibration("tiny", "small", "fp32") == first.device.calibrations[0]


def test_another_resolution_leaves_the_first_one_calibrated(tmp_path):
    profile(settings(resolutions=(8,)), Nothing(), tmp_path)
    table = profile(settings(resolutions=(16,)), Nothing(), tmp_path)
    assert [c.resolutions for c in table.device.calibrations] == [[8, 16]]


def test_what_an_earlier_profile_measured_is_not_measured_again(tmp_path):
    first = profile(settings(resolutions=(8,)), Nothing(), tmp_path)
    both = profile(settings(resolutions=(16,)), Nothing(), tmp_path)
    assert all(both.rows[key] == row for key, row in first.rows.items())
    assert len(both.rows) > len(first.rows)


REFUSED = (
    "{folder} holds a table of another device, runtime or number of threads; "
    "got {got!r}; allowed: {allowed}; try: another --device name or --out folder"
)


def refusal(tmp_path, runtime):
    with pytest.raises(TableError) as caught:
        profile(settings(), runtime, tmp_path)
    assert runtime.loaded == []
    return str(caught.value)


def test_a_folder_of_another_device_is_left_alone(tmp_path, monkeypatch):
    profile(settings(), Nothing(), tmp_path)
    before = (tmp_path / DEVICE / "device.yaml").read_text()
    own = read_table(tmp_path / DEVICE).device.hardware
    for runtime, allowed in [
        (Nothing(threads=2), f"{own}, nothing 1, 2 threads"),
        (Nothing(name="something"), f"{own}, something 1, 1 threads"),
    ]:
        assert refusal(tmp_path, runtime) == REFUSED.format(
            folder=tmp_path / DEVICE, got=f"{own}, nothing 1, 1 threads", allowed=allowed
        )
    monkeypatch.setattr(profiling, "describe_processor", lambda: "another processor")
    assert "allowed: another processor, nothing 1, 1 threads; " in refusal(tmp_path, Nothing())
    assert (tmp_path / DEVICE / "device.yaml").read_text() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / DEVICE).mkdir()
    (tmp_path / DEVICE / "thesis.tex").write_text("years of work")
    assert "is not a latency table: it has no device.yaml" in refusal(tmp_path, Nothing())
    assert [path.name for path in (tmp_path / DEVICE).iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["My Board", "../elsewhere", "", "-x", "board\n"])
def test_a_name_that_cannot_be_a_folders_is_refused_before_anything_is_measured(tmp_path, name):
    runtime = Nothing()
    with pytest.raises(OptionError) as caught:
        profile(settings(name=name), runtime, tmp_path)
    assert str(caught.value).startswith(f"a device's name is also its folder's; got {name!r}; ")
    assert runtime.loaded == []


def test_a_runtime_that_refuses_a_model(tmp_path):
    class Refusing(Nothing):
        def load(self, model):
            raise MeasurementError("nothing refuses the model: too large")

    with pytest.raises(MeasurementError, match="^nothing refuses the model: too large$"):
        profile(settings(), Refusing(), tmp_path)
    assert not (tmp_path / DEVICE).exists()


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
        "got '18 distinct ones drawn'; allowed: at least 142"
    )


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
