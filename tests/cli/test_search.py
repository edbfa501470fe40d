"""`nas search` on the terminal: what is printed, and what the same command does again."""

import json
from pathlib import Path

import pytest

from nas.cli.summary import print_summary
from nas.search.run_folder import RunFolder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_said_finished(answer, folder):
    """In one line, with the time when it was begun."""
    begun = RunFolder(Path(folder)).read_run()["started"] if Path(folder).exists() else ""
    assert answer.err.startswith(f"This run is finished (begun {begun}")
    assert answer.err.endswith(f"): {folder}\n") and answer.err.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_the_same_command_prints_the_finished_run(nas, quick, finished, options):
    before = contents(finished)
    answer = nas(*quick, "--out", finished, *options)
    assert answer.code == 0
    assert_said_finished(answer, finished)
    front = json.loads((finished / "front.json").read_text())
    assert all(model["id"] in answer.out for model in front["models"])
    assert contents(finished) == before


def test_json_is_front_json_and_nothing_else(nas, quick, finished):
    answer = nas(*quick, "--out", finished, "--json")
    assert answer.code == 0
    assert answer.json() == json.loads((finished / "front.json").read_text())


def test_a_search_prints_its_front_as_json_alone_and_lands_in_its_default_folder(
    nas, quick, tmp_path
):
    answer = nas(*quick, "--trials", "4", "--json")
    assert answer.code == 0, answer.err
    [folder] = (tmp_path / "work" / "runs").iterdir()
    assert folder.name.startswith("jetson-nano-2.7ms-")
    assert answer.json() == json.loads((folder / "front.json").read_text())
    lines = answer.err.splitlines()
    assert lines[0].startswith("Data digits: 1,797 images of 10 classes (")
    assert lines[1] == "Shorter sides: 32 pixels; 1,797 greyscale."
    assert lines[2].startswith("This takes about "), "an estimate before the work starts"
    stages = [line.split()[0] for line in lines[3:]]
    assert [s for i, s in enumerate(stages) if i == 0 or stages[i - 1] != s] == [
        "supernet", "The", "search", "short", "finalists",
    ]  # fmt: skip
    again = nas(*quick, "--trials", "4")
    assert_said_finished(again, folder.relative_to(tmp_path / "work"))


def test_a_search_begins_with_the_front_of_an_earlier_one(nas, quick, finished, tmp_path):
    front, out = finished / "front.json", tmp_path / "warm"
    command = [*quick, "--trials", "8", "--warm-start", front, "--out", out]
    assert nas(*command).code == 0
    known = [model["architecture"] for model in json.loads(front.read_text())["models"]]
    assert RunFolder(out).read_run()["settings"]["warm_start"] == known
    assert_said_finished(nas(*command), out)
    answer = nas(*command[:-4], "--out", out)
    assert answer.code == 2 and "warm_start" in answer.err


def test_a_finished_run_says_what_changed_since(nas, quick, tiny, tmp_path):
    space = tmp_path / "own.yaml"
    space.write_text(Path(tiny).read_text())
    quick[quick.index(tiny)] = str(space)
    command = [*quick, "--trials", "4", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    space.write_text(space.read_text().replace("width: [0.5, 1.0]", "width: [0.75, 1.0]"))
    answer = nas(*command)
    assert answer.code == 0
    assert answer.err.splitlines()[1:] == [
        "nas: the search space changed since then, these are the results of before; "
        "try: --out OTHER_FOLDER for a new run"
    ]
    space.unlink()
    assert "nas: the search space is gone or broken since then" in nas(*command).err


def test_a_run_goes_on_with_its_own_copy_of_a_space_that_is_gone(nas, quick, tiny, tmp_path):
    space = tmp_path / "own.yaml"
    space.write_text(Path(tiny).read_text())
    quick[quick.index(tiny)] = str(space)
    command = [*quick, "--trials", "4", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    front = (tmp_path / "run" / "front.json").read_bytes()
    (tmp_path / "run" / "front.json").unlink()
    space.unlink()
    answer = nas(*command, "--resume")
    assert answer.code == 0
    assert f"{space} is gone: the run goes on with its own copy" in answer.err
    assert (tmp_path / "run" / "front.json").read_bytes() == front


def test_a_finished_run_says_which_of_its_models_is_gone(nas, quick, tmp_path):
    command = [*quick, "--trials", "4", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    gone = next((tmp_path / "run" / "models").glob("*.onnx"))
    gone.unlink()
    assert f"nas: {gone} is gone; try: delete {tmp_path}/run/front.json, then" in nas(*command).err
    assert nas("report", tmp_path / "run").code == 0
    assert gone.name in (tmp_path / "run" / "report.html").read_text()
    (tmp_path / "run" / "front.json").unlink()
    assert nas(*command, "--resume").code == 0
    assert gone.exists()


def test_resuming_what_was_never_begun_is_said(nas, quick, tmp_path):
    answer = nas(*quick, "--trials", "4", "--out", tmp_path / "run", "--resume")
    assert answer.code == 0
    assert answer.err.startswith(f"Nothing to resume in {tmp_path}/run: this run begins there.\n")


def test_what_a_kill_left_in_the_last_moment_is_removed(nas, quick, tmp_path):
    command = [*quick, "--trials", "4", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    (tmp_path / "run" / "work").mkdir()
    assert nas(*command).code == 0
    assert not (tmp_path / "run" / "work").exists()


def test_a_broken_front_is_made_anew_as_the_message_says(nas, quick, tmp_path):
    command = [*quick, "--trials", "4", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    front = tmp_path / "run" / "front.json"
    before = front.read_bytes()
    for content in ("", "{}", '{"models": [], "recommended": "x"}'):
        front.write_text(content)
        answer = nas(*command)
        assert answer.code == 2
        assert answer.err.endswith(
            f"; try: delete {front}, then the same search with --resume makes it anew\n"
        )
    front.unlink()
    assert nas(*command, "--resume").code == 0
    assert front.read_bytes() == before


def test_own_data_begins_with_the_advice_on_the_budget_and_few_images(nas, quick, make_images):
    data = make_images({"cat": 40, "dog": 40})
    quick[quick.index("2.7ms")] = "1s"
    first, *described, last = nas(*quick, "--data", data).err.splitlines()[:4]
    assert first.startswith("The budget of 1000 ms binds nothing: ")
    assert described == [
        "Data photos: 80 images of 2 classes (56 train, 12 validation, 12 test); "
        "28 training images in each.",
        "Shorter sides: 20 pixels; 80 RGB.",
    ]
    assert last == (
        "Only 12 validation images: one of them is 8.3% of accuracy, and models are chosen by "
        "differences of 0.5%. 200 or more make the choice sound."
    )


def test_a_table_of_uneven_classes_by_balanced_accuracy(nas, quick, make_images, tmp_path):
    files = sorted(make_images({"cat": 70, "dog": 30}).rglob("*.png"))
    files[7].write_bytes(b"")
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    (tmp_path / "pets.csv").write_text("\n".join(["path,label", *rows]))
    command = [*quick, "--trials", "3", "--data", tmp_path / "pets.csv", "--metric", "balanced"]
    answer = nas(*command, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    said = [
        "Data pets: 99 images of 2 classes (72 train, 13 validation, 14 test); "
        "22 (dog) to 50 (cat) training images in each, a ratio of 2.27.",
        "Shorter sides: 20 pixels; 99 RGB.",
        "Left out: 1 broken image (photos/cat/007.png: it is empty); data.json lists all.",
    ]
    assert answer.err.splitlines()[:3] == said
    run = RunFolder(tmp_path / "run")
    assert run.logged("data")["about"] == said
    told = json.loads((run.path / "data.json").read_text())
    assert told["left_out"] == {"photos/cat/007.png": "it is empty"}
    for model in run.read_front()["models"]:
        for name in ("accuracy", "validation_accuracy"):
            score = model[name]
            assert score["metric"] == "balanced"
            assert score["measured"].startswith("balanced accuracy (the mean over the classes")
            low, high = score["interval"]
            assert 0 <= low <= score["value"] <= high <= 1
    assert "balanced test" in answer.out
    assert "Balanced accuracies (means over the classes) are the exported files', on" in answer.out
    page = (run.path / "report.html").read_text()
    assert "Balanced accuracy (the mean over the classes of theirs) with its 95 % interval" in page
    assert "Balanced validation accuracy (%)" in page


def test_the_front_fits_into_80_columns(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(RunFolder(finished))
    lines = capsys.readouterr().out.splitlines()
    front = json.loads((finished / "front.json").read_text())
    for model in front["models"]:
        [line] = [text for text in lines if f" {model['id']} " in text]
        accuracy, latency = model["accuracy"]["value"], model["latency_ms"]["jetson-nano"]
        assert f" {100 * accuracy:.1f} (" in line and f" {latency['upper']:.3g} " in line
        assert line.startswith("* ") == (model["id"] == front["recommended"])
        assert len(line) <= 80 and "\u2026" not in line


def test_the_summary_says_what_was_searched_and_how_much_to_trust_it(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_summary(RunFolder(finished))
    text = capsys.readouterr().out
    front = json.loads((finished / "front.json").read_text())
    assert "tiny on jetson-nano, budget 2.7ms" in text
    assert "estimated" in text
    assert "Searched 8 architectures on " in text and "images of digits (10 classes)." in text
    assert "Finalists were chosen from the best 4, trained for 1 step each." in text
    assert "Proposals beyond a limit" not in text, "this sampler makes none"
    assert f"Recommended: {front['recommended']}, the fastest within 0.5 points" in text
    assert (
        "Latencies of NVIDIA Jetson Nano (Maxwell, 128 CUDA cores, 4 GB) are estimated from "
        "published measurements of whole networks: measure on your board"
    ) in text
    assert "Latencies are for fp16; accuracies were measured in fp32 on a CPU." in text
    assert f"nas dashboard {finished}" in text and "report.html" in text
    assert "Run it on a photo (python classify.py photo.jpg):" in text


def test_a_budget_that_everything_meets_is_said_first(nas, quick):
    quick[quick.index("2.7ms")] = "1s"
    answer = nas(*quick)
    assert answer.code == 0
    first = answer.err.splitlines()[0]
    assert first.startswith("The budget of 1000 ms binds nothing: even the slowest architecture, ")
    assert "(estimated). A budget that halves the space: --budget " in first


def test_a_lost_report_is_written_again(nas, quick, finished):
    before = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    assert nas(*quick, "--out", finished).code == 0
    assert (finished / "report.html").read_bytes() == before


@pytest.mark.slow
def test_ranks_of_a_finished_run_are_checked(nas, quick, tmp_path):
    command = [*quick, "--trials", "4", "--promote", "0", "--out", tmp_path / "run"]
    assert nas(*command).code == 0
    front = (tmp_path / "run" / "front.json").read_bytes()
    answer = nas(*command, "--check-ranking", "10", "--check-epochs", "1")
    assert answer.code == 0, answer.err
    assert "This run is finished" in answer.err and "ranking 170/170" in answer.err
    assert "Ranking: over 10 random architectures trained from scratch (1 epoch each)" in answer.out
    assert "How good the ranks are" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "front.json").read_bytes() == front
    assert "Ranking: over 10" in nas(*command).out, "said again, not checked again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--check-ranking", "9"],
            "argument --check-ranking: a whole number from 10 to 10000 is needed, got '9'",
        ),
        (
            ["--check-epochs", "5"],
            "--check-epochs is for --check-ranking; got '--check-epochs 5 alone'; try: "
            "--check-ranking 20",
        ),
    ],
)
def test_a_check_of_ranks_that_makes_no_sense(refused, quick, options, message):
    assert refused(*quick, *options).startswith(message)


def test_without_a_supernet_there_are_no_ranks_to_check(refused):
    given = ["--device", "jetson-nano", "--budget", "20ms", "--evaluator", "training"]
    assert refused("search", *given, "--check-ranking", "10") == (
        "--check-ranking checks a supernet; got '--evaluator training, which has none'; try: leave "
        "--check-ranking out"
    )
