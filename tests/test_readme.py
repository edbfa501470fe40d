"""The code that the README and the guide show does what they say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas.api
import nas.search.work as work
from nas import load_space
from nas.search.settings import read_settings
from nas.space.sample import count

ROOT = Path(__file__).parents[1]


def blocks(file: str, language: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def small_search(monkeypatch):
    """The same search with less of everything."""
    monkeypatch.setattr(work, "DIGITS_SUPERNET_STEPS", 2)
    monkeypatch.setattr(work, "DIGITS_FINETUNE_STEPS", 1)
    monkeypatch.setattr(work, "RECALIBRATION_IMAGES", 64)
    less = {"trials": 4, "finalists": 1, "promote": 0, "threads": 1}
    monkeypatch.setattr(
        nas.api, "read_settings", lambda config, given: read_settings(config, {**less, **given})
    )


@pytest.mark.slow
def test_the_python_example_and_the_script_that_reproduces_an_accuracy(
    small_search, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(blocks("README.md", "python")[0], names)
    result = names["result"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(result.models) + 2
    assert printed[-2] == f"deploy {result.recommended.file}"
    assert (result.folder / "report.html").exists()

    script = tmp_path / "reproduce.py"
    [program] = [text for text in blocks("docs/guide.md", "python") if "load_digits" in text]
    script.write_text(program, encoding="utf-8")
    front = json.loads((result.folder / "front.json").read_text())
    for model in front["models"][:1]:  # each takes a process that loads torch
        words = [sys.executable, str(script), str(result.folder), model["id"]]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert float(done.stdout) == model["accuracy"]["value"]


def test_the_guides_search_space(tmp_path):
    (tmp_path / "tiny.yaml").write_text(blocks("docs/guide.md", "yaml")[0], encoding="utf-8")
    assert count(load_space(tmp_path / "tiny.yaml"), "small") > 1000


def test_links_lead_somewhere():
    for file in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/guide.md",
        "docs/profile.md",
        "docs/decisions/README.md",
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / file).read_text(encoding="utf-8")):
            if "://" not in target:
                assert ((ROOT / file).parent / target).exists(), f"{file}: {target}"


def test_the_sampler_in_a_study_of_its_own():
    names: dict = {}
    exec(blocks("docs/sampler.md", "python")[0], names)
    trials = names["study"].trials
    assert len(trials) == 30
    assert len({tuple(t.params.values()) for t in trials}) == 30
    assert max(t.values[1] for t in trials) <= 5.0
