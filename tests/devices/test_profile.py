"""Profiling: what is measured, the table that comes of it, and going on after a stop."""

from dataclasses import replace
from functools import cache
from zlib import crc32

import numpy as np
import pytest
from onnxruntime import InferenceSession

from nas.devices.agent.runtimes import NAMES
from nas.devices.bundle import write_bundle
from nas.devices.calibrate import calibrate, fit_calibration, shares
from nas.devices.parts import alone, job_id_of, so_far, work_folder
from nas.devices.plan import (
    ProfileSettings,
    between_layers,
    check_resolutions,
    choose,
    draw_distinct,
    draw_models,
    make_plan,
)
from nas.devices.profile import carried, profile
from nas.devices.quality import NORMAL, Quality, effort_of
from nas.devices.targets import hardware_of, precision_of
from nas.devices.transports.local import Local
from nas.devices.validate import validate
from nas.documents import parse_yaml
from nas.errors import (
    InputError,
    MeasurementError,
    OptionError,
    ResultError,
    RunFolderError,
    SpaceError,
    TableError,
)
from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.latency.device_file import Terms
from nas.latency.predict import BlockSums, Predictor, spilled_mb
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
MODELS = 190
FIT_MODELS, _ = shares(MODELS)
OURS = {"work", "user-cache"}
"""Folders of the tests' own: the working one and the user's cache."""
DRAWN, BUNDLES = {}, {}
QUICKLY = Quality(share=1.0, error=0.0, models=MODELS, effort=QUICK)
DEVICE = "test-onnxruntime"


@cache
def space(name="tiny"):
    text = TINY.replace("NAME", name)
    return SearchSpace(parse_yaml(text, SpaceFile, SpaceError, "tiny.yaml"))


def settings(**changes):
    given = {
        "name": DEVICE, "space": space(), "plan": "small", "resolutions": (8,),
        "classes": (2, 10), "quality": QUICKLY, **changes,
    }  # fmt: skip
    return ProfileSettings(**given)


@pytest.fixture(autouse=True)
def made_once(monkeypatch):
    """Networks and bundles follow from what is asked for: the tests here share them."""

    def draw(settings, wanted):
        s = settings
        key = id(s.space), s.plan, s.resolutions, s.seed, wanted
        if key not in DRAWN:
            DRAWN[key] = s.space, draw_distinct(settings, wanted)  # with it, its id is not reused
        return list(DRAWN[key][1])

    def write(path, job):
        if job not in BUNDLES:
            BUNDLES[job] = write_bundle(path, job), path.read_bytes()
        job_id, content = BUNDLES[job]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return job_id

    monkeypatch.setattr("nas.devices.plan.draw_distinct", draw)
    monkeypatch.setattr("nas.devices.parts.write_bundle", write)


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
    assert set(device.session.references_ms) == {"reference", "large reference"}
    assert device.session.repeated == 0
    assert {"load", "usable_cores", "processor"} <= set(device.provenance.machine)
    (calibration,) = device.calibrations
    assert (calibration.space, calibration.plan, calibration.resolutions) == (
        "tiny", "small", [8, 16],
    )  # fmt: skip
    assert (calibration.fit_models, calibration.bound_models) == (60, 100)
    certificate = calibration.certificate
    assert certificate.models == len(certificate.points) == 30
    assert {path.name for path in tmp_path.iterdir()} <= {DEVICE, "work", "user-cache"}, (
        "no leftovers"
    )
    predict = Predictor(table, space(), "small", classes=10)
    found = predict.architecture(sample(space(), "small", np.random.default_rng(1)))
    assert found.provenance == "measured" and not found.interpolated
    assert 0 < found.predicted_ms


FAMILIES = """\
schema: 1
name: families
description: for tests
plans:
  small: {resolutions: [8], stem_stride: 1, strides: [2]}
stem: {channels: 8, activation: relu}
stages:
  - channels: 16
    depth: [1, 2, 3]
    variants:
      inverted: {expand: 2, se: 0.25, activation: silu}
      fused: {op: fused_inverted_residual, expand: 2, activation: silu}
      residual: {op: residual}
      shuffle: {op: shuffle_unit}
      fire: {op: fire}
    se_activation: silu
    gate: sigmoid
    activation: relu
"""


def test_a_real_profile_of_every_family(tmp_path):
    """Measured in part, the rest interpolated; then every network of the space is predicted."""
    mixed = SearchSpace(parse_yaml(FAMILIES, SpaceFile, SpaceError, "families.yaml"))
    quality = Quality(share=1.0, error=0.0, models=95, effort=QUICK)
    table = profile(settings(space=mixed, quality=quality, classes=(10,)), Local(), tmp_path)
    ops = {key.block.op for key in table.rows}
    assert {"fused_inverted_residual", "residual", "shuffle_unit", "fire"} <= ops
    assert table == read_table(tmp_path / DEVICE)
    predict = Predictor(table, mixed, "small", classes=10)
    rng = np.random.default_rng(0)
    assert all(0 < predict.architecture(sample(mixed, "small", rng)).predicted_ms for _ in range(9))


def test_blocks_are_measured_between_layers():
    """A network's input and output are what a stem and a classifier have; others get theirs."""
    found = load_space("mobilenetv3")
    network = found.network(sample(found, "small", np.random.default_rng(0)))
    for _, block in network.blocks:
        places = [place for place, _ in between_layers(block)]
        model = build_graph(between_layers(block), random_weights(0), GraphTarget())
        [image], [output] = model.graph.input, model.graph.output
        sizes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (image, output)]
        if block.op == "stem":
            assert places == ["block", "after"]
            assert sizes == [[1, 3, block.height, block.width], [1, 1]]
        elif block.op == "classifier":
            assert places == ["before", "block"]
            assert sizes == [[1, 1, block.height, block.width], [1, block.out_channels]]
        else:
            assert places == ["before", "block", "after"]
            assert sizes == [[1, 1, block.height, block.width], [1, 1]]
        session = InferenceSession(model.SerializeToString())
        session.run(None, {image.name: np.ones(sizes[0], np.float32)})


def test_a_profile_that_was_cut_off_goes_on_where_it_was(tmp_path):
    board, seen = Board(lost_after=100), []
    with pytest.raises(MeasurementError, match="cut off"):
        profile(settings(), board, tmp_path)
    assert not (tmp_path / DEVICE).exists()
    table = profile(settings(), board, tmp_path, lambda done, total: seen.append(done))
    assert len(board.measured) == len(set(board.measured)), "nothing twice"
    assert seen[-1] == len(board.measured)
    assert read_table(tmp_path / DEVICE) == table
    assert {path.name for path in tmp_path.iterdir()} <= {DEVICE, "work", "user-cache"}, (
        "no leftovers"
    )


def test_a_row_is_the_median_and_the_spread_of_the_rounds(tmp_path):
    slow = {0: 2.0, 1: 1.0, 2: 1.0, 3: 8.0}
    board = Board(latency_ms=lambda item, number: slow[number])
    table = profile(
        settings(quality=replace(QUICKLY, effort=QUICK._replace(rounds=4))), board, tmp_path
    )
    row = next(iter(table.rows.values()))
    assert (row.latency_ms, row.spread_ms, row.samples) == (1.5, 0.5, 20)
    assert row.p95_ms == pytest.approx(1.8)


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


def test_a_table_that_is_measured_anew_has_no_energies_of_before(tmp_path):
    profile(settings(), Board(energy_mj=energy_of), tmp_path)
    anew = profile(settings(), Board(), tmp_path)
    assert {row.energy_mj for row in anew.rows.values()} == {None}
    assert not [name for name in anew.device.provenance.machine if "energy" in name]
    battery = Board(energy_mj=energy_of, meter="battery BAT0")
    other = profile(settings(), battery, tmp_path)
    assert other.device.provenance.machine["energy_meter"] == "battery BAT0"


def test_energies_of_two_parts_are_of_one_meter(tmp_path):
    class Changing(Board):
        """Its second part is measured by root, who may read another meter."""

        def run(self, bundle, job, result, progress):
            self.meter = "RAPL package-0" if self.kept else "battery BAT0"
            super().run(bundle, job, result, progress)

    board = Changing(latency_ms=rough, energy_mj=lambda item: 2.0)
    table = profile(wide_settings(HALF), board, tmp_path)
    assert table.device.provenance.machine["energy_meter"] == "RAPL package-0"
    energies = [row.energy_mj for row in table.rows.values() if row.source == "measured"]
    assert set(energies) == {2.0, None}


def test_the_method_names_how_all_rows_were_measured(tmp_path):
    patient = settings(quality=replace(QUICKLY, effort=QUICK._replace(rounds=4)))
    first = profile(patient, Board(), tmp_path).device.provenance.method
    more = replace(settings(), resolutions=(16,))
    both = profile(more, Board(), tmp_path).device.provenance.method
    assert both.startswith(f"{first}; extended by: median of 2 timings")
    again = profile(replace(more, space=space("other")), Board(), tmp_path)
    assert again.device.provenance.method == both


@pytest.mark.parametrize(
    "changed",
    [
        settings(seed=1),
        settings(quality=replace(QUICKLY, effort=QUICK._replace(min_runs=3))),
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
    assert both.calibration("tiny", "small", "fp32", 8) == first.device.calibrations[0]


def test_another_resolution_has_a_calibration_of_its_own(tmp_path, board):
    first = profile(settings(resolutions=(8,)), board, tmp_path)
    table = profile(settings(resolutions=(8, 16)), board, tmp_path)
    assert [c.resolutions for c in table.device.calibrations] == [[8], [16]]
    assert table.device.calibrations[0] == first.device.calibrations[0]


def test_another_number_of_classes_needs_no_whole_models(tmp_path, board):
    first = profile(settings(), board, tmp_path)
    before = len(board.measured)
    table = profile(settings(classes=(2, 10, 37)), board, tmp_path)
    assert {item.partition(" ")[0] for _, item in board.measured[before:]} == {"block"}
    assert len(board.measured) - before == QUICK.rounds * (len(table.rows) - len(first.rows))
    assert table.device.calibrations == first.device.calibrations


def test_with_nothing_to_add_all_is_measured_anew(tmp_path, board):
    profile(settings(resolutions=(8, 16)), board, tmp_path)
    before = len(board.measured)
    again = profile(settings(resolutions=(16,), seed=1), board, tmp_path)
    assert [c.resolutions for c in again.device.calibrations] == [[8], [16]]
    blocks = distinct_blocks(space(), "small", (16,), (2, 10))
    assert len(board.measured) - before == QUICK.rounds * (len(blocks) + MODELS)


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
    by_hand = carried(settings(), result, tmp_path / "tables")
    direct = profile(settings(), Board(), tmp_path / "direct")
    assert by_hand.rows == direct.rows
    assert by_hand.device.calibrations == direct.device.calibrations


# Runtimes on a GPU


def gpu(**changes):
    return settings(runtime="tensorrt", **changes)


def test_tensorrt_has_keys_of_its_own_and_no_threads(tmp_path):
    conditions = {"power_mode": "MAXN", "jetson_clocks": "on"}
    board = Board(processor="Jetson Nano", version="8.2.1", after=conditions)
    profile(gpu(), board, tmp_path)
    table = profile(gpu(resolutions=(16,)), board, tmp_path)
    device = table.device
    assert (device.runtime, device.precision, device.threads) == ("tensorrt", "fp16", None)
    assert device.mode == "MAXN, jetson_clocks on"
    assert (device.export.opset, device.export.ir_version, device.export.hardswish) == (
        13, 7, False,
    )  # fmt: skip
    assert {key.precision for key in table.rows} == {"fp16"}
    assert [(c.precision, c.resolutions) for c in device.calibrations] == [
        ("fp16", [8]),
        ("fp16", [16]),
    ]
    found = validate(table, space(), device.calibrations[1], 20, 0, board, QUICK)
    assert found.same_machine and found.calibration.precision == "fp16"
    assert found.certificate.models == 20


def test_a_board_says_no_more_of_its_mode_than_it_knows(tmp_path):
    table = profile(settings(), Board(after={"power_mode": "MAXN"}), tmp_path)
    assert table.device.mode == "MAXN"


def test_a_table_of_a_processor_is_not_extended_on_its_gpu(tmp_path, board):
    profile(settings(), board, tmp_path)
    assert refusal(tmp_path, Board(version="8.2.1"), runtime="tensorrt") == REFUSED.format(
        folder=tmp_path / DEVICE,
        got="a board, onnxruntime 1.30.0, 1 threads",
        allowed="a board, tensorrt 8.2.1",
    )


@pytest.mark.parametrize("runtime", ["tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_gpu_has_no_threads(runtime):
    with pytest.raises(OptionError) as caught:
        settings(runtime=runtime, threads=2)
    assert str(caught.value) == (
        f"threads are for runtimes on the processor; got '2 for {runtime}'; "
        "try: leave --threads out"
    )


def test_other_runtimes_compute_in_fp32():
    assert {name: precision_of(name) for name in NAMES if name != "tensorrt"} == dict.fromkeys(
        [name for name in NAMES if name != "tensorrt"], "fp32"
    )
    assert precision_of("tensorrt") == "fp16"
    assert effort_of("tensorrt") != effort_of("onnxruntime") == NORMAL


def test_a_graphics_card_is_part_of_the_hardware():
    machine = {"processor": "some processor", "gpu": "NVIDIA H200"}
    assert hardware_of("onnxruntime-cuda", machine) == "some processor, NVIDIA H200"
    assert hardware_of("onnxruntime", machine) == "some processor"
    assert hardware_of("tensorrt", {"processor": "Jetson Nano"}) == "Jetson Nano"


# Extending


def test_all_anew_leaves_nothing_of_before(tmp_path):
    """All of it is measured again, also where a lower quality would have measured less."""
    before = profile(wide_settings(QUICKLY), Board(latency_ms=smooth), tmp_path)
    twice = Board(latency_ms=lambda item, number: 2 * smooth(item, number))
    after = profile(wide_settings(HALF), twice, tmp_path)
    assert set(after.rows) == set(before.rows)
    assert all(row.source == "measured" for row in after.rows.values())
    for key, row in after.rows.items():
        assert row.latency_ms > 1.5 * before.rows[key].latency_ms


def test_of_a_further_resolution_the_same_share_is_measured(tmp_path, monkeypatch):
    two = SearchSpace(
        parse_yaml(WIDE.replace("[8]", "[8, 16]", 1), SpaceFile, SpaceError, "wide.yaml")
    )
    board = Board()
    profile(settings(space=two, quality=QUICKLY), board, tmp_path)
    plan = make_plan(settings(space=two, quality=HALF, resolutions=(8, 16)), tmp_path, None)
    new = [b for b in plan.blocks if b.op == "inverted_residual"]
    first = set(distinct_blocks(two, "small", (8,), (2, 10)))
    all_new = [
        b for b in distinct_blocks(two, "small", (16,), (2, 10))
        if b.op == "inverted_residual" and b not in first
    ]  # fmt: skip
    assert not set(new) & first
    assert len(new) >= 0.4 * len(all_new)
    assert plan.settings.resolutions == (16,)


def test_a_space_that_was_changed_is_calibrated_anew(tmp_path):
    profile(wide_settings(QUICKLY), Board(latency_ms=smooth), tmp_path)
    changed = SearchSpace(
        parse_yaml(WIDE.replace("[3, 5, 7]", "[3, 5, 7, 9]"), SpaceFile, SpaceError, "wide.yaml")
    )
    plan = make_plan(settings(space=changed, quality=QUICKLY), tmp_path, None)
    assert plan.models and plan.settings.resolutions == (8,)
    assert {dict(block.params)["kernel"] for block in plan.blocks} == {9}


def test_interpolated_rows_stay_for_what_is_new(tmp_path):
    """Other calibrations rest on them."""
    first = profile(wide_settings(HALF), Board(latency_ms=smooth), tmp_path)
    both = profile(settings(resolutions=(8,)), Board(), tmp_path)
    assert all(both.rows[key] == row for key, row in first.rows.items())
    assert both.device.calibrations[0] == first.device.calibrations[0]
    assert both.device.interpolation == first.device.interpolation


def test_parts_at_two_speeds_are_not_put_together(tmp_path):
    board = Board(latency_ms=rough, reference_ms=lambda jobs: 1.0 if jobs == 1 else 1.3)
    with pytest.raises(MeasurementError) as caught:
        profile(wide_settings(HALF), board, tmp_path)
    assert str(caught.value) == (
        "two parts of a profile were measured at different speeds; got 'a reference that took 1.30 "
        "times as long in the second'; allowed: 5%; try: measure again when clock and temperature "
        "are steady"
    )
    assert {path.name for path in tmp_path.iterdir()} <= OURS, "no leftovers"


def test_another_power_mode_is_another_device(tmp_path):
    profile(settings(), Board(after={"power_mode": "10W"}), tmp_path)
    max_n = Board(after={"power_mode": "MAXN"})
    with pytest.raises(TableError) as caught:
        profile(settings(resolutions=(16,)), max_n, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / DEVICE} was measured in another power mode; got '10W'; allowed: MAXN; "
        "try: the mode of the table, or another --device name"
    )
    assert not max_n.measured, "found out before anything takes time"


def test_a_power_mode_that_changes_meanwhile_is_not_in_the_way(tmp_path):
    """Of the second of two profiles, nothing is kept that the same command would trip over."""
    low, high = {"power_mode": "10W"}, {"power_mode": "MAXN"}
    profile(settings(), Board(after=low), tmp_path)
    with pytest.raises(TableError, match="measured in another power mode; got '10W'"):
        profile(settings(resolutions=(16,)), Board(before=low, after=high), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {*OURS, DEVICE}, "no leftovers"
    profile(settings(resolutions=(16,)), Board(after=low), tmp_path)


def test_a_table_is_extended_in_the_form_that_it_has(tmp_path):
    """What is carried by hand is written for the oldest runtime, unless the table says better."""
    profile(settings(), Board(version="1.30.0"), tmp_path)
    assert make_plan(settings(resolutions=(16,)), tmp_path, None).job.target == GraphTarget()


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
        "got '18 distinct ones drawn'; allowed: at least 95"
    )


def test_a_space_of_few_networks_is_shared_out():
    assert shares(190) == (60, 100)
    assert shares(95) == (30, 50)


# The calibration


def measured_models(seed, noise=0.0):
    """Sums of blocks, and timings of whole models in order of their length."""
    rng = np.random.default_rng(seed)
    sums = BlockSums(
        rng.uniform(1, 20, MODELS),
        rng.integers(5, 25, MODELS),
        rng.uniform(1e5, 1e6, MODELS),
        rng.uniform(1e6, 1e8, MODELS),
        rng.uniform(1e5, 3e6, MODELS),
    )
    clean = 0.3 + 0.9 * sums.latency_ms - 0.02 * sums.blocks - 0.5 * sums.border_values / 1e6
    clean += 2 * sums.macs / 1e9 + 0.1 * spilled_mb(sums.weights + sums.border_values, 4)
    return sums, np.sort(clean[:, None] * rng.normal(1, noise, (MODELS, 3)))


def test_the_fit_recovers_known_coefficients():
    sums, rounds = measured_models(0)
    fit = BlockSums(*(values[:FIT_MODELS] for values in sums))
    assert fit_calibration(fit, rounds[:FIT_MODELS, 0]) == pytest.approx(
        (0.3, 0.9, -0.02, -0.5, 2, 0.1, 4)
    )


def test_noise_that_would_turn_the_factor_round_only_scales():
    sums = BlockSums(*map(np.array, ([1.0, 2, 3], [5, 9, 7], [1e5] * 3, [1e7] * 3, [1e5] * 3)))
    found = fit_calibration(sums, np.array([3.0, 2, 1]))
    assert found == Terms(sum_factor=found.sum_factor) and found.sum_factor > 0


def test_a_perfect_machine_has_a_perfect_certificate():
    found = calibrate("tiny", "small", (8, 16), *measured_models(0), precision="fp32")
    assert found.terms == Terms(0.3, 0.9, -0.02, -0.5, 2, 0.1, 4)
    assert (found.lower_factor, found.upper_factor) == (pytest.approx(1), pytest.approx(1))
    certificate = found.certificate
    assert certificate.mape == pytest.approx(0, abs=1e-5)
    assert (certificate.within_5, certificate.within_10) == (1, 1)
    assert certificate.rank_correlation == pytest.approx(1)
    assert certificate.repeat_difference == 0


def test_the_interval_and_the_certificate_come_from_models_that_were_not_fitted_on():
    sums, rounds = measured_models(1, noise=0.03)
    found = calibrate("tiny", "small", (8, 16), sums, rounds, precision="fp32")
    rounds[FIT_MODELS : FIT_MODELS + 2] *= 2  # of the bound's hundred: the second largest counts
    worse = calibrate("tiny", "small", (8, 16), sums, rounds, precision="fp32")
    assert worse.terms == found.terms
    assert worse.certificate.points == found.certificate.points
    assert worse.upper_factor > 1.8 > found.upper_factor > 1 > found.lower_factor
    assert worse.certificate.coverage == 1
    rounds[-1] *= 2  # one of the certificate's thirty
    last = calibrate("tiny", "small", (8, 16), sums, rounds, precision="fp32")
    assert last.upper_factor == worse.upper_factor
    assert last.certificate.mape > worse.certificate.mape
    assert last.certificate.points[:-1] == worse.certificate.points[:-1]


def test_rounds_that_differ_show():
    sums, rounds = measured_models(2)
    rounds[:, 2] *= 1.25
    found = calibrate("tiny", "small", (8, 16), sums, rounds, precision="fp32")
    assert found.certificate.repeat_difference == pytest.approx(0.25)
    assert (found.lower_factor, found.upper_factor) == (pytest.approx(1), pytest.approx(1.25))


# Interpolation


WIDE = """\
schema: 1
name: wide
description: for tests
plans:
  small: {resolutions: [8], stem_stride: 1, strides: [1, 2]}
stem: {channels: 8, activation: relu}
stages:
  - {channels: 16, depth: [1, 2], kernel: [3, 5, 7], expand: [1, 2, 3, 4, 6], activation: relu}
  - {channels: 24, depth: [1, 2], kernel: [3, 5, 7], expand: [1, 2, 3, 4, 6], activation: relu}
"""
HALF = replace(QUICKLY, share=0.5, error=0.2)


@cache
def wide():
    return SearchSpace(parse_yaml(WIDE, SpaceFile, SpaceError, "wide.yaml"))


def wide_settings(quality):
    return settings(space=wide(), quality=quality)


@cache
def wide_blocks():
    return distinct_blocks(wide(), "small", (8,), (2, 10))


@cache
def wide_items():
    return {f"block {block}": block for block in wide_blocks()}


def smooth(item, number):
    """A board whose blocks follow from their MACs and borders."""
    block = wide_items().get(item)
    return 1.0 if block is None else 1e-3 * (block.cost.macs / 100 + block.border_values / 10)


def rough(item, number):
    """A board whose latencies follow from nothing."""
    return 1.0 + crc32(item.encode()) % 9


def test_what_is_not_measured_is_interpolated_and_marked(tmp_path):
    table = profile(wide_settings(HALF), Board(latency_ms=smooth), tmp_path)
    assert {key.block for key in table.rows} == set(wide_blocks())
    derived = {k: row for k, row in table.rows.items() if row.source == "interpolated"}
    assert {key.block.op for key in derived} == {"inverted_residual"}
    assert 0.3 < len(derived) / len(table.rows) < 0.6
    for key, row in derived.items():
        assert row.latency_ms == pytest.approx(smooth(f"block {key.block}", 0), rel=0.2)
        assert (row.samples, row.p95_ms) == (0, None)
    held_out = table.device.interpolation
    assert held_out.blocks == len(derived)
    assert held_out.median_error <= held_out.p90_error <= 0.2
    predict = Predictor(table, wide(), "small", classes=10)
    found = [
        predict.architecture(sample(wide(), "small", np.random.default_rng(seed)))
        for seed in range(5)
    ]
    assert any(prediction.interpolated for prediction in found)


def test_where_interpolation_is_not_safe_more_is_measured(tmp_path):
    board = Board(latency_ms=rough)
    table = profile(wide_settings(HALF), board, tmp_path)
    assert all(row.source == "measured" for row in table.rows.values())
    assert table.device.interpolation is None
    assert len(board.measured) == len(set(board.measured)), "nothing twice"


def test_two_profiles_of_one_device_at_once(tmp_path):
    with alone(tmp_path / DEVICE), pytest.raises(RunFolderError) as caught:
        profile(settings(), Board(), tmp_path)
    assert str(caught.value) == (
        f"another process measures the same device, for {tmp_path / DEVICE}; try: the same command "
        "when it has ended"
    )
    table = profile(settings(), Board(), tmp_path)
    calibration = table.device.calibrations[0]
    with alone(tmp_path / DEVICE), pytest.raises(RunFolderError, match="the same device"):
        validate(table, space(), calibration, 5, 0, Board(), QUICK)
    with alone(tmp_path / DEVICE), pytest.raises(RunFolderError, match="the same device"):
        carry(Board(), tmp_path)


def carry(board, tmp_path):
    """Bundle, run, import: the table, or what is said of the result."""
    plan = make_plan(wide_settings(HALF), tmp_path, None)
    part, _ = so_far(plan, work_folder(plan.settings, tmp_path))
    bundle, result = tmp_path / "out.zip", tmp_path / "out.results.json"
    board.run(bundle, write_bundle(bundle, part.job), result, lambda *_: None)
    return carried(wide_settings(HALF), result, tmp_path)


def test_a_carried_result_that_is_too_little_to_interpolate(tmp_path):
    board, plan = Board(latency_ms=rough), make_plan(wide_settings(HALF), tmp_path, None)
    messages = []
    for _ in range(2):
        with pytest.raises(MeasurementError) as caught:
            carry(board, tmp_path) if not messages else carried(
                wide_settings(HALF), tmp_path / "out.results.json", tmp_path
            )
        messages.append(str(caught.value))
    assert messages[0] == messages[1], "the same result again changes nothing"
    missing = len(plan.rest)
    assert messages[0] == (
        "too few blocks were measured to interpolate the others; the result is kept; got "
        "'measured ones that come out wrong when they are left out'; allowed: nine of ten within "
        f"20%; try: the same command with --bundle: {missing} more blocks; their result is "
        "imported likewise"
    )
    assert not (tmp_path / DEVICE).exists()


def test_a_second_bundle_has_what_is_missing(tmp_path):
    board = Board(latency_ms=rough)
    with pytest.raises(MeasurementError):
        carry(board, tmp_path)
    table = carry(board, tmp_path)
    assert all(row.source == "measured" for row in table.rows.values())
    assert len(board.measured) == len(set(board.measured)), "nothing twice"
    assert not work_folder(wide_settings(HALF), tmp_path).exists()
    direct = profile(wide_settings(HALF), Board(latency_ms=rough), tmp_path / "direct")
    assert table.rows == direct.rows


def test_a_second_bundle_that_ran_elsewhere(tmp_path):
    with pytest.raises(MeasurementError, match="the result is kept"):
        carry(Board(latency_ms=rough), tmp_path)
    with pytest.raises(MeasurementError) as caught:
        carry(Board(latency_ms=rough, processor="another board"), tmp_path)
    assert str(caught.value) == (
        "two parts of a profile were measured on two machines or by two versions; got 'another "
        "board, runtime 1.30.0'; allowed: a board, runtime 1.30.0; try: the second part again on "
        "the machine of the first; or the first part anew"
    )
    assert carry(Board(latency_ms=rough), tmp_path).device.hardware == "a board"


def test_a_result_of_another_board_is_not_kept_for_a_table(tmp_path):
    profile(settings(), Board(), tmp_path)
    with pytest.raises(TableError, match="holds a table of another device"):
        carry(Board(latency_ms=rough, processor="another board"), tmp_path)
    assert not work_folder(wide_settings(HALF), tmp_path).exists()


def test_a_carried_result_replaces_the_one_of_the_same_bundle(tmp_path):
    """The first came from the wrong board."""
    with pytest.raises(MeasurementError, match="the result is kept"):
        carry(Board(latency_ms=rough, processor="the wrong board"), tmp_path)
    plan = make_plan(wide_settings(HALF), tmp_path, None)
    board, bundle = Board(latency_ms=rough), tmp_path / "first.zip"
    board.run(bundle, write_bundle(bundle, plan.job), tmp_path / "first.json", lambda *_: None)
    with pytest.raises(MeasurementError, match="the result is kept"):
        carried(wide_settings(HALF), tmp_path / "first.json", tmp_path)
    assert carry(board, tmp_path).device.hardware == "a board"


def test_a_kept_result_that_was_damaged_is_not_in_the_way_for_good(tmp_path):
    with pytest.raises(MeasurementError, match="the result is kept"):
        carry(Board(latency_ms=rough), tmp_path)
    (kept,) = work_folder(wide_settings(HALF), tmp_path).iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(ResultError) as caught:
        carry(Board(latency_ms=rough), tmp_path)
    assert str(caught.value).startswith(
        "a result that was kept of this profile was damaged and is removed: "
        f"{kept} cannot be used as a result: it is not JSON: "
    )
    assert str(caught.value).endswith(
        "; try: the same command, which measures it again; where it was carried here: --bundle, or "
        "--import of the carried file again"
    )
    kept.mkdir()
    with pytest.raises(ResultError, match="is removed: .* it is not a regular file"):
        carry(Board(latency_ms=rough), tmp_path)
    with pytest.raises(MeasurementError, match="the result is kept"):
        carry(Board(latency_ms=rough), tmp_path)


def test_a_carried_result_of_another_bundle(tmp_path):
    board = Board(latency_ms=rough)
    with pytest.raises(MeasurementError):
        carry(board, tmp_path)
    plan = make_plan(wide_settings(HALF), tmp_path, None)
    kept = set(work_folder(plan.settings, tmp_path).iterdir())
    other = make_plan(settings(), tmp_path, None).job
    bundle, result = tmp_path / "out.zip", tmp_path / "other.json"
    board.run(bundle, write_bundle(bundle, other), result, lambda *_: None)
    with pytest.raises(ResultError, match="is the result of another bundle"):
        carried(wide_settings(HALF), result, tmp_path)
    assert set(work_folder(plan.settings, tmp_path).iterdir()) == kept


def test_a_carried_result_of_another_device(tmp_path):
    """Two boards measured with the same options are not to be mixed up."""
    job = make_plan(settings(name="mine"), tmp_path, None).job
    bundle, result = tmp_path / "out.zip", tmp_path / "result.json"
    Board().run(bundle, write_bundle(bundle, job), result, lambda *_: None)
    with pytest.raises(ResultError, match="is the result of another bundle"):
        carried(settings(name="other"), result, tmp_path)
    assert carried(settings(name="mine"), result, tmp_path).name == "mine"


def test_what_a_killed_process_left_of_a_bundle_is_removed(tmp_path):
    work = work_folder(settings(), tmp_path)
    work.mkdir(parents=True, exist_ok=True)
    left = work / ".bundle.zip.abc123"
    left.write_bytes(b"half of it")

    class Looking(Board):
        def run(self, *arguments):
            assert not left.exists()
            super().run(*arguments)

    profile(settings(), Looking(), tmp_path)


def test_a_better_quality_measures_what_was_interpolated(tmp_path):
    board = Board(latency_ms=smooth)
    first = profile(wide_settings(HALF), board, tmp_path)
    before = {item for _, item in board.measured if item.startswith("block")}
    full = profile(wide_settings(QUICKLY), board, tmp_path)
    blocks = [item for _, item in board.measured if item.startswith("block")]
    assert len(blocks) == QUICK.rounds * len(set(blocks)), "none twice"
    assert set(blocks) > before
    assert all(row.source == "measured" for row in full.rows.values())
    assert full.device.interpolation is None
    assert [c.resolutions for c in full.device.calibrations] == [[8]]
    assert set(full.rows) == set(first.rows)


def test_more_blocks_are_chosen_beside_those_that_are_known():
    needed = wide_blocks()
    chosen = choose(needed, set(), 0.3)
    assert len(chosen) == len(set(chosen))
    assert {b.op for b in chosen} == {b.op for b in needed}
    more = choose(needed, set(chosen), 0.8)
    assert not set(more) & set(chosen)
    many = [b for b in needed if b.op == "inverted_residual"]
    assert sum(b.op == "inverted_residual" for b in chosen + more) == round(0.8 * len(many))


def test_resolutions_default_to_those_of_the_plan():
    assert check_resolutions(space(), "small", ()) == (8, 16)
    assert check_resolutions(space(), "small", [16]) == (16,)
    with pytest.raises(InputError) as caught:
        check_resolutions(space(), "small", [16, 17])
    assert str(caught.value) == (
        "plan small of tiny has no such resolution; got 17; allowed: 8, 16"
    )
