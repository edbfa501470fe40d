"""Every command: its help, its answer for people and for programs, and what it must not load."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import nas as package
from nas.accuracy.checkpoint import Checkpoint, save_checkpoint
from nas.cli import main as cli
from nas.cli import validate as validate_command
from nas.cli.common import read_architectures
from nas.cli.profile import print_next
from nas.data import scan
from nas.devices import validate as validating
from nas.devices.agent.timing import Effort
from nas.devices.plan import ProfileSettings
from nas.devices.quality import QUALITIES
from nas.models import Supernet
from nas.search.supernets import checkpoint_subject
from nas.space import load_space
from nas.space.memory import peak_activation_bytes, weight_bytes

SPACES = Path(__file__).parents[2] / "search_spaces"

COMMANDS = [command.__name__.rpartition(".")[2] for command in cli.COMMANDS]
HEAVY = ("torch", "ray", "plotly", "optuna", "sklearn", "onnxruntime")


def test_the_commands_are_those_that_work():
    assert sorted(COMMANDS) == [
        "dashboard", "devices", "export", "predict", "profile", "report", "sample", "search",
        "spaces", "train", "validate",
    ]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example(nas, command):
    answer = nas(command, "--help")
    assert answer.code == 0 and answer.err == ""
    last = answer.out.partition("example:\n")[2].strip()
    assert f"nas {command}" in last


def test_the_help_of_all_names_every_command(nas):
    answer = nas("--help")
    assert answer.code == 0
    assert "nas search --device jetson-nano --budget 20ms" in answer.out
    for command in COMMANDS:
        assert f"\n    {command}" in answer.out


def test_version(nas):
    answer = nas("--version")
    assert (answer.code, answer.out) == (0, f"nas {package.__version__}\n")


def test_no_command_is_bad_input(refused):
    assert refused() == "the following arguments are required: COMMAND; try: nas --help"


def test_an_unknown_command_lists_the_known_ones(refused):
    message = refused("serach", "--device", "jetson-nano")
    assert message.startswith("argument COMMAND: invalid choice: 'serach' (")
    assert all(command in message for command in COMMANDS)
    assert message.endswith(" (did you mean search?); try: nas --help")


def test_a_forgotten_command_is_put_first(refused):
    message = refused("--device", "jetson-nano", "--budget", "20ms")
    assert message.endswith(
        "; the command comes first: nas search --device jetson-nano --budget 20ms; try: nas --help"
    )


@pytest.mark.parametrize("option", ["--buget=20ms", "--buget"])
def test_a_misspelt_option_gets_a_suggestion(refused, option):
    rest = [] if "=" in option else ["20ms"]
    message = refused("search", "--device", "jetson-nano", option, *rest)
    assert message.startswith("unrecognized arguments: --buget")
    assert "(did you mean --budget?)" in message


def test_an_option_is_never_abbreviated(refused):
    message = refused("search", "--dev", "jetson-nano", "--budget", "20ms")
    assert message.startswith("unrecognized arguments: --dev jetson-nano")


def loaded_by(code):
    """Which heavy packages a fresh interpreter has loaded after `code`."""
    code = (
        f"import contextlib, io, sys\nwith contextlib.redirect_stdout(io.StringIO()):\n"
        f"    with contextlib.suppress(SystemExit):\n        {code}\n"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["search", "--help"],
        ["devices"],
        ["spaces", "show", "mobilenetv1"],
        ["sample", "--json"],
        ["predict", "--device", "jetson-nano", "--reference", "mobilenetv1/mobilenet_v1_1.0"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_light_commands_load_nothing_heavy(arguments):
    if arguments[0] == "predict":
        arguments[-1] = f"mobilenetv1/{next(iter(load_space('mobilenetv1').file.references))}"
    assert loaded_by(f"from nas.cli.main import main; main({arguments!r})") == []


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import nas; dir(nas); nas.__version__") == []
    assert loaded_by("import nas; nas.load_space('mobilenetv3'); nas.Predictor") == []


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name_is_there(name):
    assert getattr(package, name).__name__ == name
    assert name in dir(package)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'nas' has no attribute 'serach'"):
        package.serach  # noqa: B018


def test_devices_as_json(nas):
    facts = {fact["name"]: fact for fact in nas("devices", "--json").json()}
    nano = facts["jetson-nano-tensorrt"]
    assert (nano["aliases"], nano["provenance"]) == (["jetson-nano"], "estimated")
    assert nano["certificate"]["median_error"] <= nano["certificate"]["largest_error"]
    assert nano["age_days"] == nano["age_days"] // 1


def test_devices_for_people_show_provenance_certificate_and_age(nas, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    answer = nas("devices")
    assert answer.code == 0 and answer.err == ""
    line = next(text for text in answer.out.splitlines() if "jetson-nano-tensorrt" in text)
    assert "estimated" in line and line.split()[-1] == "d"
    assert "median error" in answer.out


def test_a_broken_table_is_left_out_of_the_list_and_named(nas, table, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(table.parents[1]))
    table.parent.rename(table.parents[1] / "latency_tables")
    folder = table.parents[1] / "latency_tables" / table.name
    assert nas("devices").code == 0
    (folder / "blocks.csv").unlink()
    for options in ([], ["--json"]):
        answer = nas("devices", *options)
        assert answer.code == 2
        assert "jetson-nano" in answer.out and table.name not in answer.out
        assert answer.err.startswith(f"nas: left out: {folder}/blocks.csv cannot be read: ")
        assert answer.err.count("\n") == 1


def test_spaces_as_json(nas):
    facts = {fact["name"]: fact for fact in nas("spaces", "--json").json()}
    assert set(facts) == {path.stem for path in SPACES.glob("*.yaml")} >= {"mixed", "mobilenetv3"}
    macro = next(iter(facts["nas-bench-macro"]["plans"].values()))
    assert (macro["encodings"], macro["architectures"]) == (6561, 3969)
    large = facts["mobilenetv3"]["references"]["mobilenet_v3_large"]
    assert large["params"] == 5_483_032


def test_spaces_for_people(nas, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    answer = nas("spaces")
    assert answer.code == 0
    assert "3,969" in answer.out and "mobilenetv3" in answer.out
    assert nas("spaces", "list").out == answer.out


def test_a_space_is_shown_by_name_or_file(nas, tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    answer = nas("spaces", "show", tiny)
    assert answer.code == 0
    assert "plan small: 144 architectures, 16, 20 px" in answer.out
    assert "stage2.block1.kernel: 3, 5" in answer.out
    assert nas("spaces", "show", tiny, "--json").json()["plans"]["small"]["architectures"] == 144
    references = nas("spaces", "show", "mobilenetv3").out
    assert "mobilenetv3/mobilenet_v3_small: 2,542,856 params" in references


def test_show_needs_a_name(refused):
    assert refused("spaces", "show") == "nas spaces show needs a name; try: nas spaces"


def test_samples_are_architecture_objects_and_the_same_for_the_same_seed(nas, tiny):
    command = ("sample", "--space", tiny, "-n", "5", "--json", "--seed")
    found = nas(*command, 3).json()
    space = load_space(tiny)
    assert [space.from_json(value).id for value in found] == [value["id"] for value in found]
    assert len(found) == 5
    assert nas(*command, 3).json() == found != nas(*command, 4).json()


def test_samples_for_people(nas, tiny):
    lines = nas("sample", "--space", tiny, "-n", "3").out.splitlines()
    assert len(lines) == 3
    assert all(" px  " in line and line.endswith(" MACs") for line in lines)


def named_sample(nas, n=2):
    """Samples of a space that commands find by the name in the objects."""
    return nas("sample", "--space", "mobilenetv1", "--plan", "small", "-n", n, "--json").out


def test_predict_reads_samples_from_standard_input(nas, monkeypatch):
    text = named_sample(nas)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    found = nas("predict", "--device", "jetson-nano", "--arch", "-", "--json").json()
    assert [value["id"] for value in found] == [value["id"] for value in json.loads(text)]
    for value in found:
        assert value["lower_ms"] < value["predicted_ms"] < value["upper_ms"]
        assert (value["provenance"], value["device"]) == ("estimated", "jetson-nano-tensorrt")


def test_predict_for_people_says_estimated(nas, tmp_path):
    (tmp_path / "arch.json").write_text(named_sample(nas))
    answer = nas("predict", "--device", "raspberry-pi-4", "--arch", tmp_path / "arch.json")
    assert answer.code == 0
    assert answer.out.count(" estimated table of raspberry-pi-4-xnnpack-4") == 2


def test_predict_from_a_measured_table_in_a_folder(nas, table, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "own"))
    (tmp_path / "own" / "search_spaces").mkdir(parents=True)
    (tmp_path / "own" / "search_spaces" / "tiny.yaml").write_text(Path(tiny).read_text())
    (tmp_path / "arch.json").write_text(nas("sample", "--space", "tiny", "--json").out)
    command = ("predict", "--device", table, "--arch", tmp_path / "arch.json")
    [found] = nas(*command, "--json").json()
    assert (found["provenance"], found["interpolated"]) == ("measured", False)
    [(space, architecture, _)] = read_architectures(str(tmp_path / "arch.json"), None)
    network = space.network(architecture, 10)
    assert found["peak_memory_bytes"] == peak_activation_bytes(network)
    assert found["weight_bytes"] == weight_bytes(network)
    assert found["energy_sum_of_blocks_mj"] is None, "it was measured where no meter is"


def test_predict_between_measured_numbers_of_classes(nas, table, tiny, tmp_path):
    arch = tmp_path / "arch.json"
    arch.write_text(nas("sample", "--space", "mobilenetv3", "--plan", "small", "--json").out)
    command = ("predict", "--device", "x86", "--arch", arch, "--classes")
    [exact], [between] = (nas(*command, n, "--json").json() for n in ("10", "37"))
    assert between["interpolated"]
    factors = [found["upper_ms"] / found["predicted_ms"] for found in (exact, between)]
    assert factors[0] < factors[1] < 1.1 * factors[0]
    assert "measured table of epyc-zen5-onnxruntime-1, in part interpolated" in nas(
        *command, "37"
    ).out  # fmt: skip
    # Two numbers of classes leave none to be left out between its neighbours.
    arch.write_text(nas("sample", "--space", tiny, "--json").out)
    refused = nas("predict", "--device", table, "--arch", arch, "--space", tiny, "--classes", "5")
    assert refused.code == 2 and refused.err.endswith("--classes 5\n")


def test_predict_and_export_take_a_space_that_has_no_known_name(nas, tiny, tmp_path, monkeypatch):
    arch, file = tmp_path / "arch.json", tmp_path / "m.onnx"
    arch.write_text(nas("sample", "--space", tiny, "--json").out)
    answer = nas("predict", "--device", "jetson-nano", "--arch", arch)
    assert answer.code == 2
    assert answer.err.endswith("; try: --space FILE (a run keeps its own as space.yaml)\n")
    command = ("--arch", arch, "--space", tiny)
    [found] = nas("predict", "--device", "jetson-nano", *command, "--json").json()
    assert found["id"] == json.loads(arch.read_text())[0]["id"]
    assert nas("export", *command, "--out", file).code == 0
    other = ("--arch", arch, "--space", "mobilenetv1")
    assert nas("predict", "--device", "jetson-nano", *other).err.startswith(
        "nas: an architecture belongs to one space; got 'tiny'"
    )


def test_a_runs_own_files_name_their_architectures(nas, tiny, finished, tmp_path):
    front = json.loads((finished / "front.json").read_text())
    ids = [model["id"] for model in front["models"]]
    command = ("predict", "--device", "jetson-nano", "--json", "--space", finished / "space.yaml")
    assert [p["id"] for p in nas(*command, "--arch", finished / "front.json").json()] == ids
    file = finished / "models" / f"{ids[0]}.json"
    [found] = nas(*command, "--arch", file).json()
    told = front["models"][0]["latency_ms"]["jetson-nano"]["predicted"]
    assert (found["id"], found["predicted_ms"], found["classes"]) == (ids[0], told, 10)
    entry = json.loads(file.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**entry, "classes": 1000}))
    [of_more] = nas(*command, "--arch", other).json()
    assert of_more["classes"] == 1000 and of_more["predicted_ms"] > told
    [of_less] = nas(*command, "--arch", other, "--classes", "10").json()
    assert of_less["predicted_ms"] == told
    export = ("export", "--space", finished / "space.yaml", "--out", tmp_path / "m.onnx")
    assert nas(*export, "--arch", file).code == 0


def test_random_weights_are_named_in_the_file(nas, arch, tmp_path):
    file = tmp_path / "m.onnx"
    nas("export", "--arch", arch, "--out", file)
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert metadata["nas.weights"] == "random: good for timing only"
    assert json.loads(metadata["nas.architecture"]) == json.loads(arch.read_text())[0]
    nas("export", "--reference", "mobilenetv2/mobilenet_v2", "--out", file)
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert metadata["nas.reference"] == "mobilenetv2/mobilenet_v2"


def test_predict_a_reference(nas):
    name = "mobilenetv3/mobilenet_v3_large"
    [found] = nas("predict", "--device", "jetson-nano", "--reference", name, "--json").json()
    assert found["id"] == "mobilenet_v3_large" and found["upper_ms"] > found["predicted_ms"] > 0


@pytest.fixture
def arch(nas, tmp_path):
    path = tmp_path / "arch.json"
    path.write_text(named_sample(nas, 1))
    return path


@pytest.mark.parametrize(
    ("options", "opset", "ir_version"),
    [([], 17, 8), (["--device", "jetson-nano"], 13, 7), (["--device", "raspberry-pi-4"], 17, 8)],
)
def test_export_writes_what_the_device_accepts(nas, arch, tmp_path, options, opset, ir_version):
    file = tmp_path / "out" / "model.onnx"
    answer = nas("export", "--arch", arch, "--out", file, "--json", *options)
    assert answer.code == 0
    assert answer.err == "nas: the weights are random (no --supernet): good for timing only\n"
    written = answer.json()
    assert (written["file"], written["weights"]) == (str(file), "random")
    model = onnx.load(file)
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)
    assert written["opset"] == opset
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    size = written["resolution"]
    image = np.zeros((1, 3, size, size), dtype=np.float32)
    assert session.run(None, {"image": image})[0].shape == (1, 10)
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


def test_the_nano_gets_no_hardswish(nas, tmp_path):
    (tmp_path / "v3.json").write_text(nas("sample", "--json").out)
    operators = {}
    for device in ("jetson-nano", "raspberry-pi-4"):
        file = tmp_path / f"{device}.onnx"
        nas("export", "--arch", tmp_path / "v3.json", "--out", file, "--device", device)
        operators[device] = {node.op_type for node in onnx.load(file).graph.node}
    assert "HardSwish" not in operators["jetson-nano"]
    assert "HardSwish" in operators["raspberry-pi-4"]


def test_export_for_people_and_with_other_classes(nas, arch, tmp_path):
    answer = nas("export", "--arch", arch, "--out", tmp_path / "m.onnx", "--classes", "3")
    assert answer.code == 0
    assert answer.out.startswith(f"{tmp_path / 'm.onnx'}: ")
    assert answer.out.endswith(" px, 3 classes\n")


def test_export_with_the_same_seed_writes_the_same_bytes(nas, arch, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        nas("export", "--arch", arch, "--out", tmp_path / name, "--seed", seed)
    contents = [(tmp_path / name).read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_export_takes_the_weights_of_a_supernet(nas, arch, tmp_path):
    architecture = json.loads(arch.read_text())[0]
    space = load_space("mobilenetv1")
    supernet = Supernet(space, "small", 10, seed=5)
    subject = checkpoint_subject(space, "small", scan(None, 0))
    file = tmp_path / "supernet.safetensors"
    save_checkpoint(file, Checkpoint(dict(supernet.weights.items()), {}, 1, subject))
    out = tmp_path / "model.onnx"
    answer = nas("export", "--arch", arch, "--out", out, "--supernet", file, "--json")
    assert (answer.code, answer.err, answer.json()["weights"]) == (0, "", "supernet")
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load(out).metadata_props}
    assert metadata["nas.architecture"] == architecture
    assert metadata["nas.labels"] == list("0123456789")
    assert metadata["nas.preprocessing"]["resolution"] == architecture["resolution"]


def test_report_writes_the_page_again(nas, finished):
    before = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    assert nas("report", finished).code == 0
    assert (finished / "report.html").read_bytes() == before


@pytest.mark.parametrize("command", ["report", "dashboard"])
def test_a_folder_without_a_run_is_refused(refused, command, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        assert str(folder) in refused(command, folder)


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1"])
def test_the_dashboards_port_is_a_port(refused, finished, value):
    message = refused("dashboard", finished, f"--port={value}")
    assert message == (
        f"argument --port: a port from 1 to 65535 is needed, got {value!r}; "
        "try: nas dashboard --help"
    )


def test_a_closed_pipe_is_no_traceback(tmp_path):
    code = "import sys; from nas.cli.main import main; sys.exit(main(['sample', '-n', '5000']))"
    command = f'{sys.executable} -c "{code}" | head -1'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_profile_measures_a_table_that_predict_and_search_accept(nas, tiny, tmp_path, monkeypatch):
    quick = Effort(2, 0, 2, 0.0, 1e9, 0.0, 1.0)
    monkeypatch.setitem(QUALITIES, "normal", replace(QUALITIES["normal"], effort=quick))
    tables = tmp_path / "tables"
    command = ("profile", "--device", "this-onnxruntime", "--space", tiny, "--out", tables)
    answer = nas(*command)
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{tables / 'this-onnxruntime'}\n")
    assert answer.out.splitlines()[-1] == (
        f"nas search --device {tables / 'this-onnxruntime'} --space {tiny} --budget ..."
    )
    assert " whole models that were not used to make it: error " in answer.out
    assert [path.name for path in tables.iterdir()] == ["this-onnxruntime"], "no leftovers"
    found = load_space(tiny)
    predictor = package.Predictor(
        package.load_table(str(tables / "this-onnxruntime")), found, "small", 10
    )
    drawn = package.sample(found, "small", np.random.default_rng(0))
    assert predictor.architecture(drawn).provenance == "measured"


def test_a_profile_of_a_part_of_a_plan_says_what_is_left(table, tiny, capsys):
    whole = package.load_table(str(table))
    [calibration] = whole.device.calibrations
    part = calibration.model_copy(update={"resolutions": [16]})
    device = whole.device.model_copy(update={"calibrations": [part]})
    settings = ProfileSettings("tiny-onnxruntime", load_space(tiny), "small", (16,), (10,))
    print_next(replace(whole, device=device), settings)
    assert capsys.readouterr().out == (
        "nas search needs the whole plan: the same profile with --resolution 20 adds the rest.\n"
    )


@pytest.fixture
def own_table(table, tiny, tmp_path, monkeypatch):
    """The measured table among the user's own, and its space where its name is found."""
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(
        validating, "few_models_effort", lambda _: Effort(2, 0, 1, 0.0, 1e9, 0.0, 1.0)
    )
    (tmp_path / "own" / "search_spaces").mkdir(parents=True)
    (tmp_path / "own" / "search_spaces" / "tiny.yaml").write_text(Path(tiny).read_text())
    return table


def test_validate_says_that_a_made_up_table_does_not_hold(nas, own_table, tmp_path):
    before = (own_table / "device.yaml").read_bytes()
    plot = tmp_path / "plot.html"
    answer = nas("validate", "--device", own_table, "-n", "10", "--seed", "3", "--plot", plot)
    assert answer.code == 1
    assert "tiny-onnxruntime, tiny small 16/20 px: DOES NOT HOLD\n" in answer.out
    assert "10 whole models (seed 3): error " in answer.out
    assert "this is another processor or power mode than the table's" in answer.out
    assert "nas: the table of tiny-onnxruntime does not hold there; try: " in answer.err
    assert (own_table / "device.yaml").read_bytes() == before, "made up for another machine"
    assert "plotly" in plot.read_text()


def test_validate_answers_though_its_plot_cannot_be_written(nas, own_table):
    plot = own_table / "blocks.csv" / "plot.html"
    answer = nas("validate", "--device", own_table, "-n", "10", "--plot", plot)
    assert answer.code == 1 and "DOES NOT HOLD" in answer.out
    assert answer.err.splitlines()[-1].startswith(f"nas: {plot} cannot be written: ")


def test_validate_as_json(nas, own_table):
    answer = nas("validate", "--device", own_table, "-n", "10", "--json")
    [found] = answer.json()
    assert answer.code == 1 and found["holds"] is False
    assert (found["models"], found["same_machine"], found["certificate_updated"]) == (
        10, False, False,
    )  # fmt: skip


def test_validate_says_that_a_machine_was_busy(nas, own_table, capsys):
    [found] = nas("validate", "--device", own_table, "-n", "10", "--json").json()
    for unsettled, said in ((0.2, True), (0.0, False)):
        validate_command._print({**found, "unsettled": unsettled})
        assert ("not steady: timings of 20% of the models" in capsys.readouterr().out) is said


def test_validate_refuses_what_it_cannot_validate(refused, own_table):
    assert refused("validate", "--device", "jetson-nano").startswith(
        "validate compares a measured table with its device; "
        "got 'jetson-nano-tensorrt, estimated'; "
        "allowed: a table that nas profile wrote"
    )
    assert "allowed: tiny small" in refused("validate", "--device", own_table, "--plan", "large")


def test_validate_of_a_table_of_blocks_alone(refused, own_table):
    path = own_table / "device.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("calibrations:")])
    message = refused("validate", "--device", own_table)
    assert "allowed: none: the table has blocks alone; try: nas profile --device tiny" in message


def test_validate_of_a_space_that_is_not_found(refused, table):
    assert refused("validate", "--device", table) == (
        "the space of a table is found by its name, or named; got 'no space tiny'; try: --space "
        "tiny.yaml, the file that it was profiled with"
    )


def test_predict_a_reference_that_no_profile_would_cover(refused, table):
    """Its strides are not those of networks of the space."""
    name = "mobilenetv3/mobilenet_v3_small"
    message = refused("predict", "--device", table, "--reference", name, "--classes", "12")
    assert message.startswith(f"{name} has blocks that no network of mobilenetv3 large has; got ")
    assert message.endswith(
        f"try: nas export --reference {name} --out model.onnx --classes 12 && nas predict --onnx "
        f"model.onnx --device {table}, which answers as far as its blocks are known"
    )


def test_a_measured_table_that_takes_the_place_of_an_estimated_one_says_so(nas, tiny, tmp_path):
    bundle = tmp_path / "board.zip"
    answer = nas(
        "profile", "--device", "jetson-nano", "--space", tiny, "--plan", "small",
        "--out", tmp_path / "tables", "--bundle", bundle,
    )  # fmt: skip
    assert answer.code == 0 and bundle.exists()
    assert answer.err == (
        "jetson-nano is estimated so far (jetson-nano-tensorrt): "
        "the measured table takes its place\n"
    )
