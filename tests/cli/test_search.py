"""`nas search` on the terminal: what is printed, and what the same command does again."""

import json

import pytest

from nas.cli.summary import print_summary
from nas.search.run_folder import RunFolder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_the_same_command_prints_the_finished_run(nas, quick, finished, options):
    before = contents(finished)
    answer = nas(*quick, "--out", finished, *options)
    assert answer.code == 0
    assert answer.err == f"This run is finished: {finished}\n"
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
    assert lines[0].startswith("This takes about "), "an estimate before the work starts"
    stages = [line.split()[0] for line in lines[1:]]
    assert [s for i, s in enumerate(stages) if i == 0 or stages[i - 1] != s] == [
        "supernet", "search", "finalists",
    ]  # fmt: skip
    again = nas(*quick, "--trials", "4")
    assert again.err == f"This run is finished: {folder.relative_to(tmp_path / 'work')}\n"


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
    assert "Searched 8 architectures on " in text and "images of digits (10 classes); " in text
    assert "proposals were over the budget and repaired before they cost anything." in text
    assert f"Recommended: {front['recommended']}, the fastest within 0.5 points" in text
    assert "is estimated from published measurements: measure on your board" in text
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
