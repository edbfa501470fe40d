"""Settings come from a file and from options, are checked together, and name the run folder."""

import re
from pathlib import Path

import pytest

from nas.errors import InputError, OptionError, UnitError
from nas.files import search_folders
from nas.search.settings import MAX_SEED, SearchSettings, find_config, read_settings

GIVEN = {"device": "jetson-nano", "budget": "20ms"}
SHIPPED = sorted(path.stem for path in (search_folders("configs")[-1]).glob("*.yaml"))


def refused(config=None, **overrides):
    with pytest.raises(InputError) as caught:
        read_settings(config, {**GIVEN, **overrides})
    assert caught.value.exit_code == 2
    return str(caught.value)


def write(text):
    Path("mine.yaml").write_text(text, encoding="utf-8")
    return "mine.yaml"


def test_everything_but_device_and_budget_has_a_default():
    settings = read_settings(None, GIVEN)
    assert (settings.trials, settings.finalists, settings.seed) == (64, 8, 0)
    assert (settings.space, settings.sampler, settings.data) == ("mobilenetv3", "front", None)
    assert (settings.budgets_ms, settings.time_limit_s) == ({"jetson-nano": 20.0}, None)


def test_options_override_the_file_and_the_file_the_defaults():
    config = write("schema: 1\ndevice: raspberry-pi-4\ntrials: 5\nseed: 3\n")
    settings = read_settings(config, {**GIVEN, "trials": 7, "finalists": None})
    assert (settings.devices, settings.trials, settings.seed) == ({"jetson-nano": "20ms"}, 7, 3)
    assert settings.finalists == 8


def test_a_file_may_hold_everything():
    config = write("schema: 1\ndevice: jetson-nano\nbudget: 9ms\ntime_limit: 20m\n")
    settings = read_settings(config, {})
    assert (settings.budgets_ms, settings.time_limit_s) == ({"jetson-nano": 9.0}, 1200.0)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_is_found_by_name(name):
    assert find_config(name) == find_config(f"configs/{name}.yaml")
    assert read_settings(name, GIVEN).devices == {"jetson-nano": "20ms"}


def test_a_configuration_of_the_working_folder_comes_first():
    Path("configs").mkdir()
    Path("configs/quick.yaml").write_text("schema: 1\ntrials: 3\n")
    assert read_settings("quick", GIVEN).trials == 3


@pytest.mark.parametrize("name", ["device", "budget"])
def test_a_search_needs_a_device_and_a_budget(name):
    given = {key: value for key, value in GIVEN.items() if key != name}
    with pytest.raises(OptionError) as caught:
        read_settings(None, given)
    assert str(caught.value) == (
        f"a search needs a {name}; try: nas search --device jetson-nano --budget 20ms "
        "(nas devices lists devices)"
    )


def test_an_unknown_configuration_lists_the_known_ones():
    assert refused("missing") == (
        f"no configuration has this name; got 'missing'; allowed: {', '.join(SHIPPED)}, or the "
        "path of a file; try: check the path"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trials: many", "trials: input should be a valid integer; got 'many'"),
        ("trials: 0", "trials: input should be greater than 0; got 0"),
        ("trials: true", "trials: input should be a valid integer; got True"),
        ("finalists: 0", "finalists: input should be greater than 0; got 0"),
        ("seed: -1", "seed: input should be greater than or equal to 0; got -1"),
        (
            f"seed: {MAX_SEED + 1}",
            f"seed: input should be less than or equal to {MAX_SEED}; got {MAX_SEED + 1}",
        ),
        (
            "sampler: cma",
            "sampler: input should be 'front', 'nsga2', 'tpe', 'gp' or 'random'; got 'cma'",
        ),
        ("plan: huge", "plan: input should be 'small' or 'large'; got 'huge'"),
        ("supernet_steps: 0", "supernet_steps: input should be greater than 0; got 0"),
        ("finetune_steps: 1.5", "finetune_steps: input should be a valid integer; got 1.5"),
        ("threads: 0", "threads: input should be greater than 0; got 0"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(line, message):
    assert refused(write(f"schema: 1\n{line}\n")) == f"mine.yaml line 2: {message}"


def test_what_is_not_yaml_is_named_with_its_line():
    assert refused(write("schema: 1\na: [\n")).startswith("mine.yaml line 3 is not valid YAML: ")


def test_the_version_of_a_file_is_checked():
    assert refused(write("schema: 2\n")) == "mine.yaml line 1: schema: input should be 1; got 2"


def test_a_list_is_no_configuration():
    assert refused(write("- 1\n")) == (
        "mine.yaml must hold keys and values; got 'list'; allowed: a mapping"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trials": 0}, "settings: trials: input should be greater than 0; got 0"),
        ({"trials": "9"}, "settings: trials: input should be a valid integer; got '9'"),
        ({"plan": "huge"}, "settings: plan: input should be 'small' or 'large'; got 'huge'"),
    ],
)
def test_a_mistake_in_an_override_is_named(overrides, message):
    assert refused(**overrides) == message


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("budget", "20", "a latency budget needs a unit"),
        ("budget", "20 parsecs", "a latency budget has an unknown unit"),
        ("budget", "0ms", "a latency budget is above zero"),
        ("budget", "-3ms", "a latency budget is above zero"),
        ("budget", "1e999s", "a latency budget is finite"),
        ("budget", "fast", "a latency budget is a number with a unit"),
        ("time_limit", "20", "a time limit needs a unit"),
        ("time_limit", "20ms", "a time limit has an unknown unit"),
        ("time_limit", "0m", "a time limit is above zero"),
    ],
)
def test_quantities_need_a_unit_and_are_above_zero(name, text, rule):
    with pytest.raises(UnitError) as caught:
        read_settings(None, {**GIVEN, name: text})
    units, example = ("ms, s, us", "20ms") if name == "budget" else ("h, m, min, s", "20m")
    assert str(caught.value) == (
        f"{rule}; got {text!r}; allowed: a positive number followed by {units}; try: {example}"
    )


CHANGES = {
    "device": "raspberry-pi-4", "budget": "21ms", "space": "mobilenetv1", "plan": "small",
    "data": "photos", "seed": 1, "trials": 65, "finalists": 9, "sampler": "random",
    "metric": "balanced", "evaluator": "training", "trial_steps": 5, "budget_on": "expected",
    "time_limit": "20m", "supernet": "a.safetensors", "supernet_steps": 5, "finetune_steps": 6,
    "supernet_batch": 64, "threads": 2, "promote": 20, "short_steps": 7,
    "objective": ["latency", "size"], "max_energy": "5mJ", "max_memory": "1MB",
    "max_size": "1MB", "max_macs": "1M", "warm_start": [{"space": "mixed"}],
}  # fmt: skip


def test_the_digest_changes_with_every_setting():
    fields = set(SearchSettings.model_fields) - {"schema_version", "devices", "per_device"}
    assert set(CHANGES) == fields | {"device", "budget"}
    needs = {"trial_steps": {"evaluator": "training"}}
    digests = [
        read_settings(None, {**GIVEN, **needs.get(name, {}), name: new}).digest
        for name, new in CHANGES.items()
    ]
    assert len({read_settings(None, GIVEN).digest, *digests}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    ("name", "value", "evaluator", "other"),
    [
        ("supernet", "a.safetensors", "training", "supernet"),
        ("supernet_steps", 5, "training", "supernet"),
        ("supernet_batch", 64, "training", "supernet"),
        ("trial_steps", 5, "supernet", "training"),
    ],
)
def test_what_is_for_the_other_evaluator_is_refused(name, value, evaluator, other):
    option = f"--{name.replace('_', '-')}"
    assert refused(**{name: value, "evaluator": evaluator}) == (
        f"{option} is for --evaluator {other}; got '{option} {value} with --evaluator {evaluator}';"
        f" try: leave {option} out"
    )


@pytest.mark.parametrize("name", ["supernet_steps", "supernet_batch"])
def test_a_given_supernet_is_not_trained(name):
    option = f"--{name.replace('_', '-')}"
    assert refused(**{name: 64, "supernet": "a.safetensors"}) == (
        f"{option} is for a supernet that is trained, and --supernet gives a trained one; "
        f"got '{option} 64 with --supernet a.safetensors'; try: leave one of the two out"
    )


def test_how_a_file_trains_is_left_out_where_something_else_is_typed():
    config = write("schema: 1\nsupernet_steps: 40\nfinetune_steps: 9\n")
    scratch = read_settings(config, {**GIVEN, "evaluator": "training"})
    given = read_settings(config, {**GIVEN, "supernet": "a.safetensors"})
    assert [s.supernet_steps for s in (read_settings(config, GIVEN), scratch, given)] == [
        40, None, None,
    ]  # fmt: skip
    assert scratch.finetune_steps == given.finetune_steps == 9


def test_promoting_none_is_what_training_from_scratch_does():
    given = {**GIVEN, "evaluator": "training"}
    assert read_settings(None, {**given, "promote": 0}) == read_settings(None, given)


def test_what_is_promoted_from_scratch_is_trained_for_longer_than_trials():
    given = {"evaluator": "training", "trial_steps": 50}
    assert read_settings(None, {**GIVEN, **given, "promote": 16, "short_steps": 51}).promote == 16
    assert refused(**given, promote=16, short_steps=50) == (
        "promoted architectures are trained for longer than trials; got '--short-steps 50, "
        "--trial-steps 50'; try: more --short-steps"
    )
    assert refused(**given, short_steps=100) == (
        "--short-steps are of promoted architectures; got 'no --promote'; "
        "try: --promote 16, or leave --short-steps out"
    )


@pytest.mark.parametrize("promote", [1, 8])
def test_fewer_than_the_finalists_cannot_be_promoted(promote):
    with pytest.raises(OptionError) as caught:
        read_settings(None, {**GIVEN, "promote": promote})
    assert str(caught.value) == (
        "more architectures are promoted than become finalists; got '--promote "
        f"{promote} for 8 finalists'; try: --promote 16, or 0 to choose by the trials' scores"
    )


def test_the_digest_is_the_same_however_a_setting_was_given():
    given = read_settings(write("schema: 1\nseed: 4\ntrials: 64\n"), GIVEN)
    assert given.digest == read_settings(None, {**GIVEN, "seed": 4}).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"budget": "0.02s"}, {"budget": "20ms"}),
        ({"budget": " 20 ms"}, {"budget": "20000us"}),
        ({"data": "photos/"}, {"data": "photos"}),
        ({"data": "./a/../photos"}, {"data": "photos"}),
    ],
)
def test_the_digest_is_the_same_for_what_means_the_same(one, other):
    assert read_settings(None, {**GIVEN, **one}) == read_settings(None, {**GIVEN, **other})


@pytest.mark.parametrize(
    ("device", "budget", "start"),
    [
        ("jetson-nano", "20ms", "jetson-nano-20ms"),
        ("jetson-nano", " 1.5 s ", "jetson-nano-1500ms"),
        ("tables/my-board", "800us", "my-board-0.8ms"),
        ("tables/my-board/", "800us", "my-board-0.8ms"),
    ],
)
def test_the_default_folder_names_device_and_budget(device, budget, start):
    settings = read_settings(None, {"device": device, "budget": budget})
    folder = settings.default_folder()
    assert folder.parent == Path("runs")
    assert re.fullmatch(re.escape(start) + "-[0-9a-f]{8}", folder.name)
    assert folder.name.endswith(settings.digest)


def test_several_devices_have_their_own_budgets_or_the_common_one():
    given = {"device": ["jetson-nano=20ms", "raspberry-pi-4"], "budget": "0.06s"}
    settings = read_settings(None, given)
    assert settings.devices == {"jetson-nano": "20ms", "raspberry-pi-4": "60ms"}
    assert settings == read_settings(None, {"device": dict(settings.devices)})
    assert settings.default_folder().name.startswith("jetson-nano-20ms-and-1-more-")


def test_a_file_may_hold_several_devices():
    config = write("schema: 1\ndevice:\n  jetson-nano: 20ms\n  raspberry-pi-4: 60ms\n")
    assert read_settings(config, {}).budgets_ms == {"jetson-nano": 20.0, "raspberry-pi-4": 60.0}


def test_typed_budgets_take_the_place_of_the_files():
    config = write("schema: 1\ndevice: jetson-nano\nbudget: 9ms\n")
    assert read_settings(config, {"device": ["x=5ms"]}).devices == {"x": "5ms"}
    assert read_settings(config, {"device": ["x"]}).devices == {"x": "9ms"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"device": ["a=5ms", "b=6ms"], "budget": "9ms"},
            "a device has one budget; got '--budget 9ms beside a=5ms, b=6ms'; try: leave --budget "
            "out: it is for devices without a budget of their own",
        ),
        (
            {"device": ["a=5ms", "a=6ms"]},
            "a device is given once; got 'a'; try: leave one of them out",
        ),
        (
            {"device": ["a=5ms", "b"]},
            "each device has a budget; got 'none for b'; try: --device b=20ms, or --budget for all "
            "that have none",
        ),
        (
            {"device": ["a=5ms", "b=fast"]},
            "a latency budget is a number with a unit; got 'fast'; allowed: a positive number "
            "followed by ms, s, us; try: 20ms",
        ),
        (
            {"device": "a", "budget": "5ms", "max_size": "4"},
            "--max-size needs a unit; got '4'; allowed: a positive number followed by B, GB, GiB, "
            "KB, KiB, MB, MiB, kB; try: 4MB",
        ),
        (
            {"device": "a", "budget": "5ms", "max_macs": "-1M"},
            "--max-macs is above zero; got '-1M'; allowed: a positive number alone or followed by "
            "G, M, k; try: 50M",
        ),
        (
            {"device": ["a=1ms", "b=1ms"], "per_device": True, "finalists": 1},
            "each device needs a finalist of its own; got '1 finalists for 2 devices'; try: "
            "--finalists 2 or more",
        ),
        (
            {"device": "a", "budget": "5ms", "objective": ["speed"]},
            "settings: objective.0: input should be 'latency', 'energy', 'memory', 'size' or "
            "'macs'; got 'speed'",
        ),
    ],
)
def test_devices_limits_and_objectives_that_are_wrong_are_one_line(given, message):
    with pytest.raises(InputError) as caught:
        read_settings(None, given)
    assert (str(caught.value), caught.value.exit_code) == (message, 2)


def test_a_folder_may_have_the_sign_of_a_budget_in_its_name():
    Path("tables/a=b").mkdir(parents=True)
    given = {"device": ["tables/a=b"], "budget": "5ms"}
    assert read_settings(None, given).devices == {"tables/a=b": "5ms"}


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("max_size", "4MB", "4000KB"), ("max_macs", "50M", "0.05G"), ("max_energy", "1J", "1000mJ")],
)
def test_limits_that_mean_the_same_are_the_same(name, one, other):
    assert read_settings(None, {**GIVEN, name: one}) == read_settings(None, {**GIVEN, name: other})


def test_objectives_are_the_same_in_any_order():
    one = read_settings(None, {**GIVEN, "objective": ["size", "latency", "size"]})
    assert one == read_settings(None, {**GIVEN, "objective": ["latency", "size"]})
