"""A whole search of a tiny space: the run folder keeps its contract, twice the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import nas
from nas.errors import ArchitectureError, RunFolderError
from nas.search.run import run_search
from nas.search.study import read_trials
from nas.search.work import default_work
from nas.space import load_space
from nas.space import sample as sampling

FILES = Path(__file__).resolve().parents[1] / "files"
SETTINGS = {
    "device": str(FILES / "latency_tables" / "tiny-onnxruntime"), "budget": "0.25ms",
    "space": str(FILES / "tiny.yaml"), "trials": 14, "finalists": 4, "supernet_steps": 30,
    "finetune_steps": 5, "threads": 1, "seed": 5,
}  # fmt: skip
BUDGET_MS = 0.25


def search(folder):
    """In `folder`, with caches of its own, as a fresh machine would."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder / "cache"))
        patch.setenv("NAS_DATA_DIR", str(folder / "data"))
        return nas.find_models(**SETTINGS, out=folder / "run")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return search(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def front(result):
    return json.loads((result.folder / "front.json").read_text())


def read_json(path):
    return json.loads(path.read_text())


def test_the_folder_holds_what_it_should_and_nothing_else(result, front):
    names = {path.name for path in result.folder.iterdir()} - {".lock"}
    assert names - {"study.journal.lock"} == {
        "run.yaml", "data.json", "study.journal", "front.json", "baselines.json", "models",
        "report.html", "log.jsonl", "space.yaml",
    }  # fmt: skip
    ids = {model["id"] for model in front["models"]}
    files = {path.name for path in (result.folder / "models").iterdir()}
    assert files == {f"{name}.{kind}" for name in ids for kind in ("onnx", "json")}


def test_front_json_has_the_fields_that_it_promises(front):
    assert set(front) == {"schema", "recommended", "fronts", "models"}
    assert front["schema"] == 1
    assert 1 <= len(front["models"]) <= 4
    for model in front["models"]:
        assert set(model) >= {
            "id", "architecture", "validation_accuracy", "accuracy", "latency_ms", "params",
            "macs", "size_bytes", "peak_memory_bytes", "files", "dominated",
        }  # fmt: skip
        for score in (model["validation_accuracy"], model["accuracy"]):
            low, high = score["interval"]
            assert 0 <= low <= score["value"] <= high <= 1
            assert score["value"] == score["correct"] / score["images"]
            assert "onnxruntime" in score["measured"]
            assert score["file"] == model["files"]["onnx"]
        [(device, latency)] = model["latency_ms"].items()
        assert device == SETTINGS["device"], "as it was typed"
        assert latency["lower"] <= latency["predicted"] <= latency["upper"]
        assert latency["provenance"] == "measured"
        assert isinstance(model["dominated"], bool)
        assert model["peak_memory_bytes"] > 0


def test_nothing_that_is_shown_or_was_scored_is_over_the_budget(result, front):
    records = read_trials(result.folder / "study.journal")
    assert len(records) == len({record.id for record in records}) == 14
    bounds = [r.latency_ms[SETTINGS["device"]]["upper"] for r in records]
    shown = [*front["models"], *read_json(result.folder / "baselines.json")["models"]]
    bounds += [model["latency_ms"][SETTINGS["device"]]["upper"] for model in shown]
    assert max(bounds) <= BUDGET_MS
    assert sum(record.refused for record in records) == 0, "nothing over the budget is proposed"


def test_finalists_are_chosen_after_a_short_training(result, front):
    journal = result.folder / "study.journal"
    searched = {r.id: r for r in read_trials(journal)}
    again = {r.id: r for r in read_trials(journal, "short training")}
    assert len(again) == 2 * SETTINGS["finalists"] and set(again) <= set(searched)
    assert {model["id"] for model in front["models"]} <= set(again)
    assert any(record.accuracy != searched[name].accuracy for name, record in again.items())


def test_costs_are_the_architectures_own(front):
    space = nas.load_space(SETTINGS["space"])
    for model in front["models"]:
        cost = space.network(space.from_json(model["architecture"]), 10).cost
        assert (model["params"], model["macs"]) == (cost.params, cost.macs)


def test_the_recommended_model_is_on_the_front_and_the_front_is_not_dominated(front):
    kept = [model for model in front["models"] if not model["dominated"]]
    assert front["recommended"] in {model["id"] for model in kept}
    costs = [
        (1 - m["validation_accuracy"]["value"], m["latency_ms"][SETTINGS["device"]]["predicted"])
        for m in front["models"]
    ]
    assert [ms for _, ms in costs] == sorted(ms for _, ms in costs)
    for one, model in zip(costs, front["models"], strict=True):
        worse = any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in costs)
        assert worse == model["dominated"]


def test_the_json_beside_a_model_is_its_entry(result, front):
    for model in front["models"]:
        assert read_json(result.folder / model["files"]["json"]) == model
        assert (result.folder / model["files"]["onnx"]).stat().st_size == model["size_bytes"]


def digit(drawn, size):
    """A digit, 8 x 8 of 0 to 16, as the documentation of the data describes it."""
    grey = np.rint(drawn * (255 / 16)).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_accuracy_is_reproduced_from_the_file_and_its_metadata(result, front, split):
    data, digits = read_json(result.folder / "data.json"), load_digits().images
    rows = [int(item.removeprefix("digits/")) for item in data[split]]
    name = {"validation": "validation_accuracy", "test": "accuracy"}[split]
    for model in front["models"]:
        file = result.folder / model["files"]["onnx"]
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        given = json.loads(metadata["nas.preprocessing"])
        assert (given["color"], given["layout"], given["scale"]) == ("RGB", "NCHW", "1/255")
        labels = json.loads(metadata["nas.labels"])
        correct = 0
        for row, label in zip(rows, data["labels"][split], strict=True):
            pixels = digit(digits[row], given["resolution"]).astype(np.float32) / np.float32(255)
            normal = (pixels - np.float32(given["mean"])) / np.float32(given["std"])
            [logits] = session.run(None, {"image": normal.transpose(2, 0, 1)[None]})
            correct += labels[int(logits.argmax())] == data["classes"][label]
        assert correct == model[name]["correct"]
        assert len(rows) == model[name]["images"]


def test_a_file_says_what_it_is(result, front):
    for model in front["models"]:
        found = onnx.load(result.folder / model["files"]["onnx"])
        onnx.checker.check_model(found, full_check=True)
        metadata = {entry.key: json.loads(entry.value) for entry in found.metadata_props}
        assert metadata["nas.architecture"] == model["architecture"]
        assert metadata["nas.accuracy"]["accuracy"] == model["accuracy"]
        assert metadata["nas.accuracy"]["validation_accuracy"] == model["validation_accuracy"]
        size = model["architecture"]["resolution"]
        [shape] = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in found.graph.input]
        assert shape == [1, 3, size, size]
        assert (found.opset_import[0].version, found.ir_version) == (17, 8)


def test_the_files_compute_what_torch_computes(front):
    for model in front["models"]:
        for split in ("validation", "test"):
            parity = model["parity"][split]
            assert parity["disagreements"] == 0
            assert parity["largest_difference"] <= 1e-4


def test_run_yaml_says_what_was_done(result):
    facts = yaml.safe_load((result.folder / "run.yaml").read_text())
    given = {**SETTINGS, "device": {SETTINGS["device"]: SETTINGS["budget"]}}
    del given["budget"]
    assert {name: facts["settings"][name] for name in given} == given
    assert facts["settings"]["schema"] == 1
    assert (facts["space"], facts["plan"]) == ("tiny", "small")
    [device] = facts["devices"].values()
    assert device["budget_ms"] == BUDGET_MS
    assert facts["work"]["supernet_steps"] == 30
    assert device["provenance"] == "measured"
    assert set(facts["versions"]) >= {"python", "nas", "torch", "onnxruntime", "optuna"}


def test_data_json_and_the_log(result):
    data = read_json(result.folder / "data.json")
    splits = [data[name] for name in ("train", "validation", "test")]
    assert sum(map(len, splits)) == len(set().union(*splits)) == 1797
    lines = (result.folder / "log.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events == [
        "start", "data", "supernet", "supernet check", "search", "short training", "finished",
    ]  # fmt: skip


def test_the_python_result_is_the_front(result, front):
    assert [model.id for model in result.models] == [model["id"] for model in front["models"]]
    assert result.recommended.id == front["recommended"]
    for model in result.models:
        assert model.file.is_file()
        assert model.upper_ms <= BUDGET_MS
        assert model.provenance == "measured"
    assert nas.open_run(result.folder) == result


def test_the_baselines_are_the_spaces_own_networks_at_each_width(result):
    found = read_json(result.folder / "baselines.json")["models"]
    assert {model["width"] for model in found} <= {0.5, 1.0}
    for model in found:
        assert model["architecture"]["choices"]["stage1.depth"] == 2


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }  # fmt: skip


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_returned_as_it_is(result, resume):
    before = contents(result.folder)
    assert nas.find_models(**SETTINGS, out=result.folder, resume=resume) == result
    assert contents(result.folder) == before


def test_paths_are_as_good_as_their_texts(result):
    device = Path(SETTINGS["device"])
    assert nas.load_table(device).name == nas.load_table(str(device)).name
    others = {k: v for k, v in SETTINGS.items() if k not in ("device", "budget")}
    others["space"] = Path(others["space"])
    for given in ({"device": device, "budget": "0.25ms"}, {"device": {device: "0.25ms"}}):
        assert nas.find_models(**given, **others, out=result.folder) == result


def test_the_runs_own_space_reads_its_architectures(result, front, space):
    kept = nas.load_space(result.folder / "space.yaml")
    assert kept.file == space.file
    for model in front["models"]:
        assert kept.from_json(model["architecture"]).id == model["id"]


def test_other_settings_do_not_touch_a_finished_run(result):
    before = contents(result.folder)
    with pytest.raises(RunFolderError, match="seed 5 there, 6 now"):
        nas.find_models(**{**SETTINGS, "seed": 6}, out=result.folder)
    assert contents(result.folder) == before


def test_the_same_seed_gives_the_same_result(result, tmp_path):
    again = search(tmp_path)
    for name in ("front.json", "baselines.json", "data.json"):
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes()
    for model in result.models:
        other = again.folder / "models" / model.file.name
        assert other.read_bytes() == model.file.read_bytes()
    trials = [read_trials(r.folder / "study.journal") for r in (result, again)]
    assert trials[0] == trials[1]


def test_a_time_limit_takes_the_supernet_that_was_trained_about_as_long(
    make_settings, tmp_path, listener, monkeypatch
):
    def fixed(settings, *rest):
        return replace(default_work(settings, *rest[:1]), supernet_steps=7, finetune_steps=2)

    monkeypatch.setattr("nas.search.resolved.limited_work", fixed)
    trained = make_settings(trials=4, supernet_steps=6)
    run_search(trained, tmp_path / "first")
    limited = make_settings(trials=4, supernet_steps=None, time_limit="1h")
    run = run_search(limited, tmp_path / "second", watcher=listener)
    assert run.read_run()["work"]["supernet_steps"] == 6
    assert "supernet" not in listener.stages
    assert any(text.startswith("Supernet from the cache") for text in listener.said)


def test_a_supernet_of_another_run_is_used(result, tmp_path, make_settings, listener):
    [supernet] = (result.folder.parent / "cache" / "supernets").glob("*.safetensors")
    settings = make_settings(**{**SETTINGS, "supernet": str(supernet), "supernet_steps": None})
    run = run_search(settings, tmp_path / "run", watcher=listener)
    assert "supernet" not in listener.stages
    assert read_trials(run.journal)[:1] == read_trials(result.folder / "study.journal")[:1]
    assert run.read_run()["work"]["supernet_steps"] == SETTINGS["supernet_steps"]


def test_a_search_begins_with_what_an_earlier_one_found(result, tmp_path, make_settings, listener):
    """Here for a lower budget: what is beyond it is named."""
    models = {model.id: model for model in result.models}
    budget = sorted(model.latency_ms for model in models.values())[1] * 1.1
    given = [model.architecture for model in models.values()]
    settings = make_settings(budget=f"{budget:.4f}ms", trials=8, warm_start=given * 2)
    run = run_search(settings, tmp_path / "run", watcher=listener)
    known = {t.id for t in read_trials(run.journal) if t.origin == "warm start"}
    [said] = [text for text in listener.said if "--warm-start" in text]
    beyond = set(said.removeprefix("Beyond the limits, and left out of --warm-start: ").split(", "))
    assert beyond and known and not known & beyond
    others = models.keys() - beyond - known
    assert others <= {t.id for t in read_trials(run.journal)}, "hand-made ones among them"


@pytest.mark.parametrize("sampler", ["front", "random"])
def test_every_sampler_begins_with_what_is_known(space, make_settings, tmp_path, sampler):
    rng = np.random.default_rng(1)
    known = [sampling.sample(space, "small", rng) for _ in range(3)]
    settings = make_settings(
        budget="9ms", trials=12, sampler=sampler, warm_start=[a.to_json() for a in known]
    )
    trials = read_trials(run_search(settings, tmp_path / "run").journal)
    assert {a.id for a in known} <= {t.id for t in trials[:8]}


def test_what_is_known_is_of_the_same_plan(make_settings, tmp_path):
    large = sampling.sample(load_space("mobilenetv3"), "large", np.random.default_rng(0))
    settings = make_settings(
        device="jetson-nano", budget="20ms", space="mobilenetv3", warm_start=[large.to_json()]
    )
    with pytest.raises(ArchitectureError) as caught:
        run_search(settings, tmp_path / "run")
    assert str(caught.value) == (
        f"architectures of --warm-start are of the run's input plan; {large.id} is of another; "
        "got 'large'; allowed: small; try: --plan large, or other architectures"
    )
    assert not (tmp_path / "run").exists()


def test_a_search_of_a_space_that_is_used_up_ends_early(make_settings, tmp_path, listener):
    settings = make_settings(budget="0.0991ms", trials=12)
    run = run_search(settings, tmp_path / "run", watcher=listener)
    assert any("The search ends after 1 architecture:" in text for text in listener.said)
    assert len(run.read_front()["models"]) == 1
    assert listener.stages == ["supernet", "supernet check", "search", "finalists"]
