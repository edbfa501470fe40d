"""Bad input: one line that says the rule, what came, what is allowed and what to do; exit 2.

Nothing half written is left. A full disk is exit 1 and keeps what is finished.
"""

# ruff: noqa: E501  (tables of messages are easier to read unbroken)

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nas.accuracy.checkpoint import Checkpoint, save_checkpoint
from nas.data import scan
from nas.models import Supernet
from nas.search.candidates import latency_range
from nas.search.run import run_search
from nas.search.run_folder import RunFolder
from nas.search.settings import read_settings
from nas.search.supernets import checkpoint_subject
from nas.space import load_space
from nas.units import parse_latency_ms

# Devices, spaces, values of options


@pytest.mark.parametrize("command", ["search", "predict", "export"])
def test_unknown_device(refused, command, tmp_path):
    rest = {
        "search": ["--budget", "20ms"],
        "predict": ["--reference", "mobilenetv3/mobilenet_v3_small"],
        "export": ["--reference", "mobilenetv3/mobilenet_v3_small", "--out", tmp_path / "m.onnx"],
    }
    message = refused(command, "--device", "jetson-nono", *rest[command])
    start, _, rest = message.partition("; allowed: ")
    allowed, _, do = rest.partition("; try: ")
    assert start == "no latency table has this device name; got 'jetson-nono'"
    assert {"jetson-nano", "raspberry-pi-4"} <= set(allowed.split(", "))
    assert do == "nas devices, or measure it: nas profile --device jetson-nono"


def test_unknown_folder_of_a_table(refused, tmp_path):
    folder = tmp_path / "tables" / "missing"
    assert refused("search", "--device", folder, "--budget", "20ms") == (
        f"{folder} is not a latency table: it has no device.yaml; try: nas devices"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["search", "--device", "jetson-nano", "--budget", "20ms", "--space"],
        ["sample", "--space"],
        ["profile", "--device", "mine", "--space"],
        ["spaces", "show"],
    ],
    ids=lambda command: command[0],
)
def test_unknown_space(refused, command):
    assert refused(*command, "mobilenetv9") == (
        "no search space has this name; got 'mobilenetv9'; allowed: efficientnetv2, mixed, "
        "mobilenetv1, mobilenetv2, mobilenetv3, mobilenetv3-exits, nas-bench-macro, shufflenetv2, squeezenet; try: nas "
        "spaces, or the path of a YAML file"
    )


def test_missing_file_of_a_space(refused, tmp_path):
    path = tmp_path / "missing.yaml"
    assert refused("sample", "--space", path) == (
        f"{path} cannot be read: No such file or directory; try: the path of a file that this "
        "user may read"
    )


SEARCH = ["search", "--device", "jetson-nano", "--budget", "20ms"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*SEARCH, "--trials", "0"], "argument --trials: a whole number from 1 to 1000000 is needed, got '0'"),
        ([*SEARCH, "--trials", "many"], "argument --trials: a whole number from 1 to 1000000 is needed, got 'many'"),
        ([*SEARCH, "--finalists", "-1"], "argument --finalists: a whole number from 1 to 1000 is needed, got '-1'"),
        ([*SEARCH, "--supernet-steps", "1.5"], "argument --supernet-steps: a whole number from 1 to 10000000 is needed, got '1.5'"),
        ([*SEARCH, "--seed", "-1"], "argument --seed: a whole number from 0 to 2147483647 is needed, got '-1'"),
        ([*SEARCH, "--seed", str(10**30)], f"argument --seed: a whole number from 0 to 2147483647 is needed, got '{10**30}'"),
        (["export", "--reference", "a/b", "--out", "x.onnx", "--classes", str(10**9)], "argument --classes: a whole number from 1 to 100000 is needed, got '1000000000'"),
        ([*SEARCH, "--seed", "x"], "argument --seed: a whole number from 0 to 2147483647 is needed, got 'x'"),
        (["sample", "-n", "0"], "argument -n: a whole number from 1 to 10000000 is needed, got '0'"),
        (["predict", "--device", "jetson-nano", "--reference", "a/b", "--classes", "0"], "argument --classes: a whole number from 1 to 100000 is needed, got '0'"),
    ],
)  # fmt: skip
def test_option_values_that_are_no_such_numbers(refused, command, message):
    assert refused(*command) == f"{message}; try: nas {command[0]} --help"


@pytest.mark.parametrize(
    ("command", "got"),
    [
        (["search", "--device", "", "--budget", "20ms"], "--device"),
        (["search", "--device=", "--budget", "20ms"], "--device="),
        ([*SEARCH, "--out", ""], "--out"),
        (["report", ""], "report"),
        (["predict", "--device", "x86", "--arch", ""], "--arch"),
    ],
)
def test_an_empty_value_is_a_variable_that_was_not_set(refused, command, got):
    assert refused(*command) == f"a value is not empty; got \"{got} ''\"; try: give a value"


@pytest.mark.parametrize(
    "command",
    [
        ["search", "--device", 300 * "d", "--budget", "20ms", "--data", 300 * "p"],
        [*SEARCH, "--out", 300 * "o"],
        ["report", 300 * "r"],
        ["profile", "--device", 300 * "d"],
    ],
)
def test_names_that_no_disk_takes_are_one_line(refused, command):
    refused(*command)


def test_a_suggestion_is_an_option_of_that_command(refused):
    assert refused("devices", "--foo") == "unrecognized arguments: --foo; try: nas devices --help"


def test_options_without_effect_are_refused(refused, tiny, tmp_path):
    name = ("--reference", "mobilenetv2/mobilenet_v2")
    assert refused("predict", "--device", "x86", *name, "--space", tiny).startswith(
        "--space goes with --arch; got '--reference'"
    )
    assert refused("export", *name, "--out", tmp_path / "m.onnx", "--data", tmp_path).startswith(
        "--data goes with --supernet"
    )
    assert refused("spaces", "list", "extra").startswith("nas spaces list takes no name")


def test_a_budget_below_zero_is_a_value_and_not_an_option(refused):
    assert refused("search", "--device", "jetson-nano", "--budget", "-3ms").startswith(
        "a latency budget is above zero; got '-3ms'; allowed: "
    )


@pytest.mark.parametrize("options", [["--device", "x86"], ["--device", "mine", "--alias", "x86"]])
def test_a_profile_takes_no_name_of_another_machines_table(refused, options):
    message = refused("profile", *options)
    assert message.startswith(
        "a device's name or alias is not that of another measured table; got 'x86, "
        "epyc-zen5-onnxruntime-1 in "
    )
    assert message.endswith("; try: --device my-device")


def test_a_bundle_replaces_nothing_else(refused, tmp_path):
    precious = tmp_path / "thesis.md"
    precious.write_text("years of work")
    command = ("profile", "--device", "mine", "--bundle")
    for path in (precious, tmp_path):
        assert refused(*command, path) == (
            f"--bundle names a new file, or a bundle that is written anew; got '{path}'; try: "
            "--bundle board.zip"
        )
    assert precious.read_text() == "years of work"
    assert refused(*command, tmp_path / "none" / "b.zip").startswith(
        "--bundle is written into a folder that exists; got "
    )
    assert not (tmp_path / "none").exists()
    assert refused(*command, precious / "b.zip") == (
        f"--bundle is written into a folder; got '{precious}/b.zip, where {precious} is a file'; "
        "try: --bundle board.zip"
    )


def test_an_import_of_nothing(refused, tmp_path):
    message = refused("profile", "--device", "mine", "--import", tmp_path / "none.json")
    assert "none.json cannot be used as a result: No such file or directory; " in message


def test_an_alias_is_a_name_too(refused):
    message = refused("profile", "--device", "mine", "--alias", "a/b")
    assert message.startswith("a device's name is also its folder's; got 'a/b'; ")


def test_an_interpreter_needs_a_board(refused):
    for command in (("profile", "--device", "mine"), ("validate", "--device", "x86")):
        assert refused(*command, "--python", "/opt/python") == (
            "--python names the interpreter of a board; got '/opt/python'; try: add --host or --adb"
        )


def test_like_takes_a_measured_table(refused):
    assert refused("profile", "--device", "mine", "--like", "jetson-nano") == (
        "--like takes a measured table; got 'jetson-nano, estimated'; try: nas devices lists which "
        "are measured"
    )
    assert refused("profile", "--device", "mine", "--like", "nobody").startswith(
        "no latency table has this device name; got 'nobody'"
    )


def test_like_takes_a_table_with_the_blocks(refused, table, tiny):
    message = refused("profile", "--device", "mine", "--like", table, "--space", "mobilenetv1")
    assert message.startswith(
        "the table of tiny-onnxruntime is not calibrated for mobilenetv1, so no other device is "
        "like it; got 'plan small at "
    )


@pytest.mark.parametrize(
    "options", [["--device", "tiny"], ["--device", "other", "--alias", "tiny"]]
)
def test_a_profile_takes_no_name_of_another_own_table(refused, table, monkeypatch, options):
    own = table.parent.rename(table.parent.parent / "latency_tables")
    monkeypatch.setenv("NAS_DATA_DIR", str(own.parent))
    assert refused("profile", *options).startswith(
        "a device's name or alias is not that of another measured table; got 'tiny, "
        f"tiny-onnxruntime in {own / table.name} ("
    )


def test_a_block_that_a_shipped_table_lacks_is_measured_under_another_name(refused):
    message = refused("search", "--device", "x86", "--budget", "1ms", "--space", "mobilenetv1")
    assert message.endswith(
        "; try: nas profile --device my-device --space mobilenetv1 --plan small, then "
        "--device my-device here too"
    )


@pytest.mark.parametrize(("option", "choices"), [("--plan", "small large"),
                                                 ("--sampler", "front nsga2 tpe gp random")])  # fmt: skip
def test_option_values_that_are_no_choice(refused, option, choices):
    message = refused(*SEARCH, option, "other")
    assert message.startswith(f"argument {option}: invalid choice: 'other' (")
    assert all(choice in message for choice in choices.split())
    assert message.endswith("; try: nas search --help")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--trials", "1000001", "argument --trials: a whole number from 1 to 1000000 is needed, got '1000001'"),
        ("--threads", "2000", "argument --threads: a whole number from 1 to 1024 is needed, got '2000'"),
        ("--config", "slow", "no configuration has this name; got 'slow'; allowed: "),
        ("--time-limit", "20", "a time limit needs a unit; got '20'; allowed: a positive number followed by h, m, min, s; try: 20m"),
        ("--time-limit", "0m", "a time limit is above zero; got '0m'; allowed: "),
        ("--data", "missing", "the data path exists; got 'missing'; allowed: "),
        ("--supernet", "missing", "--supernet names a file; got 'missing'; allowed: a supernet file"),
    ],
)  # fmt: skip
def test_option_values_that_settings_refuse(refused, option, value, message):
    assert refused(*SEARCH, option, value).startswith(message)


def test_a_plan_that_the_space_does_not_have(refused, tiny):
    expected = "search space tiny has no such input plan; got 'large'; allowed: small"
    assert refused(*SEARCH, "--space", tiny, "--plan", "large") == expected
    assert refused("sample", "--space", tiny, "--plan", "large") == expected


def test_a_resolution_that_the_plan_does_not_have(refused, tiny, tmp_path):
    command = ("profile", "--device", "mine", "--space", tiny, "--out", tmp_path / "tables")
    assert refused(*command, "--resolution", "17") == (
        "plan small of tiny has no such resolution; got 17; allowed: 16, 20"
    )


def test_a_device_name_that_is_no_folder_name(refused, tiny, tmp_path):
    command = ("profile", "--space", tiny, "--out", tmp_path / "tables", "--device")
    assert refused(*command, "My Board").startswith("a device's name is also its folder's; ")


def test_threads_for_a_gpu(refused, tiny, tmp_path):
    command = ("profile", "--device", "mine", "--space", tiny, "--out", tmp_path / "tables")
    assert refused(*command, "--runtime", "tensorrt", "--threads", "2") == (
        "threads are for runtimes on the processor; got '2 for tensorrt'; try: leave --threads out"
    )


def test_a_search_without_device_or_budget(refused):
    assert refused("search", "--budget", "20ms").startswith("a search needs a device; try: nas ")
    assert refused("search", "--device", "jetson-nano").startswith("a search needs a budget; try: ")


def test_a_configuration_with_a_mistake(refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("schema: 1\ndevice: jetson-nano\nbudget: 20ms\ntrails: 5\n")
    told = refused("search", "--config", path)
    assert told.startswith(
        f"{path} line 4: unknown key 'trails' in the document; allowed: budget, "
    )
    assert told.endswith("; try: trials")
    path.write_text("schema: 1\ndevice: jetson-nano\nbudget: 20\n")
    assert refused("search", "--config", path) == refused(
        "search", "--device", "jetson-nano", "--budget", "20"
    )


def test_budgets_on_what_is_expected_need_exits(refused):
    told = refused(
        "search", "--device", "jetson-nano", "--budget", "20ms", "--budget-on", "expected"
    )
    assert told == (
        "--budget-on expected is for a space with early exits; got '--space mobilenetv3'; "
        "try: leave --budget-on out"
    )


# Budgets


@pytest.mark.parametrize(
    ("budget", "rule"),
    [
        ("20", "a latency budget needs a unit"),
        ("0ms", "a latency budget is above zero"),
        ("-20ms", "a latency budget is above zero"),
        ("20parsec", "a latency budget has an unknown unit"),
        ("20m", "a latency budget has an unknown unit"),
        ("nanms", "a latency budget is a number with a unit"),
        ("1e400s", "a latency budget is finite"),
    ],
)
def test_budgets(refused, budget, rule):
    assert refused("search", "--device", "jetson-nano", f"--budget={budget}") == (
        f"{rule}; got {budget!r}; allowed: a positive number followed by ms, s, us; try: 20ms"
    )


@pytest.mark.parametrize("device", ["jetson-nano", "measured"])
def test_a_budget_that_nothing_meets(refused, tiny, table, device):
    from nas import Predictor, load_table

    name = str(table) if device == "measured" else device
    found = latency_range(Predictor(load_table(name), load_space(tiny), "small", 10))
    message = refused("search", "--device", name, "--space", tiny, "--budget", "10us")
    provenance = "measured" if device == "measured" else "estimated"
    assert message.startswith(
        f"no architecture of tiny (small plan) meets the budget on {load_table(name).name}; got "
        "'0.01 ms'; allowed: at least "
    )
    assert f"the fastest architecture {found.fastest.id} ({provenance}); try: --budget " in message
    at_least, suggested = re.findall(r"([0-9.]+) ?ms", message)[1:]
    assert float(at_least) == pytest.approx(found.fastest_ms, rel=0.005)
    assert parse_latency_ms(f"{suggested}ms") >= found.fastest_ms


# Search spaces


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("channels: 32", "channels: many", " line 12: head.channels: input should be a valid integer; got 'many'"),
        ("channels: 32", "channels: 0", " line 12: head.channels: input should be greater than 0; got 0"),
        ("head:", "heat:", " line 12: unknown key 'heat' in the document"),
        ("se: 0.25", "sex: 0.25", " line 11: unknown key 'sex' in stages.1"),
        ("width: [0.5, 1.0]", "width: []", " line 5: width: list should have at least 1 item after validation, not 0; got []"),
        ("kernel: [3, 5], expand", "kernel: [], expand", " line 11: stages.1.kernel: list should have at least 1 item after validation, not 0; got []"),
        ("resolutions: [16, 20]", "resolutions: []", " line 7: plans.small.resolutions: list should have at least 1 item after validation, not 0; got []"),
        ("width: [0.5, 1.0]", "width: [0.5, 0.5]", " line 5: width: a choice is listed twice; got [0.5, 0.5]"),
        ("kernel: [3, 5], expand", "kernel: [3, 4], expand", " line 11: stages.1.kernel.1: a kernel is an odd number; got 4"),
        ("strides: [1, 2]", "strides: [1]", ": plan small needs one stride for each of the 2 stages"),
        ("schema: 1", "schema: 2", " line 2: schema: input should be 1; got 2"),
        ("name: tiny\n", "", ": name is missing"),
        ("stages:", "stages: {", " line 10 is not valid YAML: "),
    ],
)  # fmt: skip
def test_search_spaces(refused, tiny, tmp_path, old, new, message):
    text = Path(tiny).read_text()
    assert text.count(old) == 1
    path = tmp_path / "broken.yaml"
    path.write_text(text.replace(old, new))
    for command in (["spaces", "show", path], [*SEARCH, "--space", path]):
        found = refused(*command)
        assert found.startswith(str(path)), found
        assert message in found


def test_a_width_that_rounds_to_no_channels(refused, tiny, tmp_path):
    path = tmp_path / "narrow.yaml"
    path.write_text(Path(tiny).read_text().replace("width: [0.5, 1.0]", "width: [0.1, 1.0]"))
    for command in (["sample", "--space", path], [*SEARCH, "--space", path]):
        assert refused(*command) == (
            f"{path}: search space tiny: width 0.1 leaves 16 channels with none; allowed: widths that keep "
            "at least 4 channels everywhere; try: a larger width or more channels"
        )


def test_a_space_that_is_no_mapping(refused, tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    assert refused("sample", "--space", path) == (
        f"{path} must hold keys and values; got 'list'; allowed: a mapping"
    )


# Latency tables


def test_profiling_over_a_damaged_table_says_how_to_begin_again(refused, table, tiny):
    (table / "blocks.csv").write_bytes(b"\xca\xfe")
    message = refused("profile", "--device", table.name, "--out", table.parent, "--space", tiny)
    assert message.endswith(again(table))


def edit(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


@pytest.fixture
def refused_table(refused, table, tiny):
    """Search and prediction with a table that was broken: the same message from both."""

    def run():
        search = ["search", "--device", table, "--space", tiny, "--budget", "0.25ms"]
        reference = "mobilenetv3/mobilenet_v3_small"
        messages = {
            refused(*search),
            refused("predict", "--device", table, "--reference", reference),
        }
        [message] = messages
        return message

    return run


def measure(table, space):
    """The advice: the table lies in no folder of look-up, so its place is named."""
    return (
        f"nas profile --device tiny-onnxruntime --out {table.parent} --space {space} --plan small"
    )


def again(table):
    """The advice on a damaged table: profiling would read it first, so it has to go."""
    return f"try: rm -r {table} && {measure(table, 'tiny.yaml')}"


def test_a_table_with_a_missing_block(refused, table, tiny):
    lines = (table / "blocks.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",depthwise_separable," not in line]
    (table / "blocks.csv").write_text("".join(kept))
    edit(table / "device.yaml", "rows: 42", f"rows: {len(kept) - 1}")
    message = refused("search", "--device", table, "--space", tiny, "--budget", "0.25ms")
    assert message.startswith(
        "the table of tiny-onnxruntime lacks a block of tiny; got 'depthwise_separable "
    )
    assert message.endswith(f" fp32 batch 1'; try: {measure(table, tiny)}")


def test_a_table_that_was_not_measured_for_the_number_of_classes(refused, table, tiny, make_images):
    path = table / "blocks.csv"
    left = [row for row in path.read_text().splitlines(True) if ',2,"{' not in row]
    path.write_text("".join(left))
    edit(table / "device.yaml", "rows: 42", f"rows: {len(left) - 1}")
    data = make_images({"cat": 8, "dog": 8})
    command = ["search", "--device", table, "--space", tiny, "--budget", "0.25ms", "--data", data]
    message = refused(*command)
    assert message.startswith(
        "the table of tiny-onnxruntime lacks a block of tiny; got 'classifier"
    )
    assert message.endswith(f"; try: {measure(table, tiny)} --classes 2")


def test_a_table_that_is_not_calibrated_for_the_space(refused, table):
    message = refused("search", "--device", table, "--space", "mobilenetv1", "--budget", "1ms")
    assert message.startswith("the table of tiny-onnxruntime ")
    assert f"; try: {measure(table, 'mobilenetv1')}" in message


def test_a_table_with_a_duplicate_key(refused_table, table):
    lines = (table / "blocks.csv").read_text().splitlines(keepends=True)
    (table / "blocks.csv").write_text("".join([*lines[:-1], lines[1]]))
    message = refused_table()
    assert message.startswith(
        f"{table}/blocks.csv line 43: a block key is listed twice; got 'class"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-0.5", "0"])
def test_a_table_with_a_latency_that_is_none(refused_table, table, value):
    path = table / "blocks.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = re.sub(r",[0-9.]+,1e-05,", f",{value},1e-05,", lines[3])
    path.write_text("".join(lines))
    assert refused_table() == (
        f"{path} line 4: latency_ms must be a finite number above zero; got {value!r}; {again(table)}"
    )


def test_a_table_of_another_version(refused_table, table):
    edit(table / "device.yaml", "schema: 1", "schema: 7")
    assert refused_table() == (
        f"{table}/device.yaml line 1: schema: input should be 1; got 7; try: mend that file, or "
        f"rm -r {table} and profile the device again"
    )


def test_rows_of_another_version(refused_table, table):
    edit(table / "blocks.csv", "\n2,", "\n1,")
    assert refused_table() == (
        f"{table}/blocks.csv line 2: another version of latency tables; got '1'; allowed: 2; "
        f"{again(table)}"
    )


def test_a_truncated_table(refused_table, table):
    path = table / "blocks.csv"
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert refused_table() == f"{path} is cut off: its last line has no end; {again(table)}"
    path.write_text("".join(whole.splitlines(keepends=True)[:-5]))
    assert refused_table() == (
        f"{path} is cut off or misses rows; got '37 rows'; allowed: the 42 rows that device.yaml "
        f"counts; {again(table)}"
    )
    path.write_text("")
    assert refused_table().startswith(f"{path} is cut off")


def test_a_table_whose_device_file_is_cut_off(refused_table, table):
    path = table / "device.yaml"
    path.write_text(path.read_text()[:300])
    assert refused_table().startswith(f"{path}")


def test_a_table_without_rows(refused_table, table):
    (table / "blocks.csv").unlink()
    message = refused_table()
    assert message.startswith(f"{table}/blocks.csv cannot be read: ")
    assert message.endswith(again(table))


# Images


def search_data(refused, tiny, data):
    return refused(*SEARCH[:-1], "2.7ms", "--space", tiny, "--data", data)


def test_an_empty_data_folder(refused, tiny, tmp_path):
    (tmp_path / "photos").mkdir()
    assert search_data(refused, tiny, tmp_path / "photos") == (
        "photos holds one folder per class; got 'no images at all'; allowed: train/<class>/ and "
        "test/<class>/ (validation/<class>/ if you like), or one folder of <class>/; "
        "try: check --data"
    )


def test_one_class(refused, tiny, make_images):
    assert search_data(refused, tiny, make_images({"cat": 9})) == (
        "photos holds at least two classes; got 'only cat'; allowed: train/<class>/ and "
        "test/<class>/ (validation/<class>/ if you like), or one folder of <class>/; try: add a "
        "folder of images of another class"
    )


def test_a_class_without_images(refused, tiny, make_images):
    root = make_images({"cat": 9, "dog": 9})
    (root / "fox").mkdir()
    message = search_data(refused, tiny, root)
    assert message.startswith("every class folder holds images; photos/fox holds none; allowed: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"no image", "no image format recognised"), (None, "")],
)
def test_a_broken_image(refused, tiny, make_images, content, reason):
    root = make_images({"cat": 9, "dog": 9})
    broken = root / "cat" / "003.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)
    message = search_data(refused, tiny, root)
    rule = "at most 2 % of the images are broken and left out"
    assert message.startswith(f"{rule}; cat/003.png: {reason}")
    assert "; got '1 of 18 images that cannot be read'; allowed: 0 of them; JPEG, PNG, " in message
    assert message.endswith("; try: remove or replace these files")


def test_different_classes_in_train_and_test(refused, tiny, make_images):
    counts = {"train/cat": 9, "train/dog": 9, "test/cat": 3, "test/fox": 3}
    assert search_data(refused, tiny, make_images(counts)) == (
        "train/ and test/ hold the same classes; only in train/: dog, only in test/: fox; "
        "try: rename, add or remove these folders"
    )


def test_a_damaged_archive(refused, tiny, make_images, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", make_images({"cat": 9, "dog": 9}))
    content = Path(archive).read_bytes()
    Path(archive).write_bytes(content[: len(content) // 2])
    message = search_data(refused, tiny, archive)
    assert message.startswith(f"an archive can be read to its end; {archive} cannot (")
    assert message.endswith("; try: download or pack it again")


# Output folders


def test_an_output_folder_that_holds_something_else(refused, quick, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    assert refused(*quick, "--out", tmp_path / "thesis") == (
        f"{tmp_path / 'thesis'} holds something that is not a run; allowed: a new or empty folder, "
        "or one that nas search made; try: --out OTHER_FOLDER"
    )


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_an_output_folder_that_cannot_be_written(refused, quick, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" / below
    message = refused(*quick, "--out", folder)
    if not below:
        assert message.startswith(f"{folder} holds something that is not a run; ")
        return
    assert message == (
        f"{folder} cannot be written: Not a directory; allowed: a folder that this user may "
        "write; try: another place"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_an_output_folder_without_permission(refused, quick, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    message = refused(*quick, "--out", tmp_path / "locked" / "run")
    assert "cannot be written: Permission denied; " in message


def test_a_cache_folder_that_cannot_be_written(refused, quick, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    message = refused(*quick, "--out", tmp_path / "run")
    assert message.startswith(
        f"the cache folder can be written; {tmp_path / 'file' / 'cache'} cannot ([Errno 20] Not a "
    )
    assert message.endswith(
        "; allowed: a folder that this user may write; try: NAS_CACHE_DIR=OTHER_FOLDER"
    )


@pytest.mark.parametrize("command", ["profile", "export"])
def test_other_outputs_that_cannot_be_written(refused, tiny, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    options = {
        "profile": ["--device", "mine", "--space", tiny, "--out", tmp_path / "file" / "tables"],
        "export": ["--reference", "mobilenetv3/mobilenet_v3_small", "--out", tmp_path / "file" / "m"],
    }  # fmt: skip
    message = refused(command, *options[command])
    assert message.startswith(str(tmp_path / "file"))
    assert " cannot be written: " in message


def test_export_into_a_folder(refused, tmp_path):
    command = ["export", "--reference", "mobilenetv3/mobilenet_v3_small", "--out", tmp_path]
    assert refused(*command) == (
        f"--out names a file; got '{tmp_path}'; allowed: a file; try: --out model.onnx"
    )


# Runs and checkpoints


@pytest.fixture
def unfinished(quick, tmp_path):
    """A run that was stopped when its search began."""

    class Stop(Exception):  # noqa: N818
        pass

    class StopAtSearch:
        def say(self, text):
            pass

        def progress(self, stage, done, total, note=""):
            if stage == "search":
                raise Stop

    values = dict(zip(quick[1::2], quick[2::2], strict=True))
    overrides = {
        name.removeprefix("--").replace("-", "_"): int(text) if text.isdigit() else text
        for name, text in values.items()
    }
    run = tmp_path / "run"
    with pytest.raises(Stop):
        run_search(read_settings(None, overrides), run, watcher=StopAtSearch())
    return run


def test_an_unfinished_run_needs_resume(refused, nas, quick, unfinished):
    assert refused(*quick, "--out", unfinished) == (
        f"{unfinished} holds an unfinished run; try: the same command with --resume to continue "
        "it, or --out OTHER_FOLDER"
    )
    assert nas(*quick, "--out", unfinished, "--resume").code == 0
    assert RunFolder(unfinished).state == "finished"


def test_an_unfinished_run_in_the_default_folder(refused, nas, quick, unfinished, tmp_path):
    settings = yaml.safe_load((unfinished / "run.yaml").read_text())["settings"]
    folder = read_settings(None, {k: v for k, v in settings.items() if k != "schema"})
    place = tmp_path / "work" / folder.default_folder()
    place.parent.mkdir()
    unfinished.rename(place)
    message = refused(*quick)
    assert message.startswith(f"{folder.default_folder()} holds an unfinished run; try: the same")
    assert nas(*quick, "--resume").code == 0


def test_an_unfinished_run_of_other_settings(refused, quick, unfinished):
    for options in ([], ["--resume"]):
        assert refused(*quick, "--out", unfinished, "--seed", "1", *options) == (
            f"{unfinished} holds a run with other settings; got 'seed 0 there, 1 now'; try: "
            "--out OTHER_FOLDER, or the settings in its run.yaml"
        )


def test_a_finished_run_of_other_settings(refused, quick, finished):
    quick[quick.index("--trials") + 1] = "9"
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert refused(*quick, "--out", finished) == (
        f"{finished} holds a run with other settings; got 'trials 8 there, 9 now'; try: "
        "--out OTHER_FOLDER, or the settings in its run.yaml"
    )
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_data_that_changed_since_the_run_was_begun(refused, quick, unfinished):
    edit(unfinished / "run.yaml", "fingerprint: ", "fingerprint: 00")
    message = refused(*quick, "--out", unfinished, "--resume")
    assert message.startswith(f"the data changed since {unfinished} was begun; got '")
    assert message.endswith("; try: restore the data, or --out OTHER_FOLDER")


@pytest.fixture
def checkpoint(tiny, tmp_path):
    space = load_space(tiny)
    weights = dict(Supernet(space, "small", 10).weights.items())
    path = tmp_path / "supernet.safetensors"
    subject = checkpoint_subject(space, "small", scan(None, 0))
    save_checkpoint(path, Checkpoint(weights, {}, 1, subject))
    return path


def test_a_checkpoint_of_another_space(refused, checkpoint, tmp_path):
    expected = (
        f"the supernet {checkpoint} was trained for another search space; got 'tiny'; allowed: "
        "{}; try: leave --supernet out, or give one that was trained for this"
    )
    command = [*SEARCH, "--supernet", checkpoint, "--out", tmp_path / "run"]
    assert refused(*command) == expected.format("mobilenetv3")
    assert refused(*command, "--space", "mobilenetv1") == expected.format("mobilenetv1")


def test_export_with_a_checkpoint_of_another_space(refused, nas, checkpoint, tmp_path):
    arch = tmp_path / "arch.json"
    arch.write_text(nas("sample", "--space", "mobilenetv1", "--json").out)
    out = tmp_path / "m.onnx"
    message = refused("export", "--arch", arch, "--out", out, "--supernet", checkpoint)
    assert message.startswith(
        f"the supernet {checkpoint} was trained for another search space; got 'tiny'; "
    )


@pytest.fixture
def given(quick, checkpoint):
    """A search with the checkpoint in place of steps that train one."""
    place = quick.index("--supernet-steps")
    return [*quick[:place], *quick[place + 2 :], "--supernet", checkpoint]


def test_a_checkpoint_for_another_split_of_the_data(refused, given, checkpoint):
    message = refused(*given, "--seed", "1")
    assert message.startswith(
        f"the supernet {checkpoint} was trained for another data set or another split of it; got '"
    )
    assert message.endswith(
        "; try: the --seed it was trained with, or leave --supernet out, or give one that was trained for this"
    )


def test_a_truncated_checkpoint(refused, given, checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    message = refused(*given)
    assert message.startswith(f"{checkpoint} cannot be read as a supernet: ")
    assert message.endswith("; try: leave --supernet out, or give another file")


# Architectures


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "0" * 12}, "the id is the hash of the resolved network; got '000000000000'; allowed: "),
        ({"color": "red"}, "an architecture has an unknown key; got 'color'; allowed: {schema, space, "),
        ({"resolution": 33}, "plan small of mobilenetv1 has no such resolution; got 33; allowed: "),
        ({"resolution": "32"}, "choices is an object and resolution a whole number"),
        ({"plan": "huge"}, "search space mobilenetv1 has no such input plan; got 'huge'; allowed: "),
        ({"space": "mobilenetv9"}, "no search space has the name in this architecture; got 'mobilenetv9'; allowed: "),
        ({"schema": 2}, "schema version; got '2'; allowed: 1"),
        ({"choices": {"width": 9}}, "width of mobilenetv1 is one of its choices; got 9; allowed: "),
        ({"choices": {}}, "an architecture of mobilenetv1 needs every active choice; got 'none for width'; allowed: "),
    ],
)  # fmt: skip
def test_architectures(refused, nas, tmp_path, change, message):
    command = ("sample", "--space", "mobilenetv1", "--plan", "small", "--json")
    [value] = nas(*command).json()
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps({**value, **change}))
    for rest in (["predict", "--device", "jetson-nano"], ["export", "--out", tmp_path / "m.onnx"]):
        assert refused(*rest, "--arch", arch).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is not JSON: "),
        ("[]", " holds no architecture; got '[]'; try: nas sample -n 1 --json > arch.json"),
        ("{", " is not JSON: "),
        ("7", "an architecture is one object of `nas sample --json`; got 'int'; allowed: {schema"),
        ("[[]]", "an architecture is one object of `nas sample --json`; got 'list'; allowed: "),
        (
            "{}",
            "an architecture is one object of `nas sample --json`; got 'an object without space'; al",
        ),
    ],
)
def test_architecture_files(refused, tmp_path, text, message):
    arch = tmp_path / "arch.json"
    arch.write_text(text)
    assert message in refused("predict", "--device", "jetson-nano", "--arch", arch)


def test_an_architecture_file_that_is_not_there(refused, tmp_path):
    path = tmp_path / "missing.json"
    assert refused("predict", "--device", "jetson-nano", "--arch", path) == (
        f"{path} cannot be read: No such file or directory; try: nas sample -n 1 --json > arch.json"
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "mobilenet_v3_small",
            "--reference names a space and a network in it; got 'mobilenet_v3_s",
        ),
        ("mobilenetv3/resnet", "search space mobilenetv3 has no such reference; got 'resnet'; all"),
        (
            "resnet/resnet18",
            "no search space has this name; got 'resnet'; allowed: efficientnetv2, ",
        ),
    ],
)
def test_references(refused, reference, message):
    for command in (("predict", "--device", "jetson-nano"), ("train",)):
        assert refused(*command, "--reference", reference).startswith(message)


# A full disk


def remount(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system whose size can be changed; starts with 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a small file system be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


FULL = re.compile(
    r"nas: the disk is full: (.+) could not be written, finished files are kept; "
    r"try: free some space, then the same command again \(nas search: with --resume\)"
)


def test_a_disk_that_fills_up_again_and_again(nas, quick, small_disk, finished):
    """Wherever it happens: one line, exit 1, and the same command goes on from there."""
    run, filled = small_disk / "run", []
    for size in ("8k", "32k", "72k", "84k", "100k", "150k"):
        remount(small_disk, size)
        resume = ["--resume"] if RunFolder(run).state == "unfinished" else []
        answer = nas(*quick, "--out", run, *resume)
        assert answer.code == 1, answer.err
        line = answer.err.splitlines()[-1]
        assert FULL.fullmatch(line), line
        assert "Traceback" not in answer.err and answer.out == ""
        filled.append(Path(FULL.fullmatch(line).group(1)).name)
        for path in run.rglob("*.json"):
            json.loads(path.read_text())
        assert not [path for path in run.rglob(".*") if path.name != ".lock"]
    assert {"data.json", "study.journal"} <= set(filled), filled
    remount(small_disk, "20m")
    assert nas(*quick, "--out", run, "--resume").code == 0
    assert (run / "front.json").read_bytes() == (finished / "front.json").read_bytes()


def test_a_full_disk_under_the_cache(nas, quick, small_disk, monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE_DIR", str(small_disk / "cache"))
    remount(small_disk, "8k")
    answer = nas(*quick, "--out", tmp_path / "run")
    assert answer.code == 1
    line = answer.err.splitlines()[-1]
    assert FULL.fullmatch(line).group(1).endswith(".safetensors")
    assert not list((small_disk / "cache").rglob(".*"))
    remount(small_disk, "20m")
    assert nas(*quick, "--out", tmp_path / "run", "--resume").code == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_finds_the_disk_full(nas, quick, unfinished, monkeypatch, number):
    def full(descriptor):
        raise OSError(number, os.strerror(number))

    before = {path.name: path.read_bytes() for path in unfinished.iterdir() if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = nas(*quick, "--out", unfinished, "--resume")
    assert answer.code == 1
    assert FULL.fullmatch(answer.err.splitlines()[-1])
    for name in ("run.yaml", "data.json"):
        assert (unfinished / name).read_bytes() == before[name]
    assert nas(*quick, "--out", unfinished, "--resume").code == 0


def test_profile_on_a_full_disk(nas, tiny, small_disk):
    remount(small_disk, "8k")
    answer = nas("profile", "--device", "mine", "--space", tiny, "--out", small_disk / "tables")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("nas: the disk is full: ")
    assert not (small_disk / "tables" / "mine").exists()
