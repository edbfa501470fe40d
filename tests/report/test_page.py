"""The page: complete, self-contained, escaped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nas.errors import RunFolderError
from nas.latency.table import LatencyTable
from nas.report.data import load_report
from nas.report.page import write_report
from nas.search.run_folder import RunFolder

NewRun = Callable[..., RunFolder]
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags close in order; collects links, text and identifiers."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(run: RunFolder) -> tuple[Page, str]:
    content = write_report(run.path).read_text(encoding="utf-8")
    page = Page(content)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    return page, content


def test_the_page_is_written_into_the_run_and_says_what_matters(run: RunFolder) -> None:
    page, content = report(run)
    assert run.report.is_file()
    recommended = run.read_front()["recommended"]
    for words in (
        "Models for jetson-nano within 9\u00a0ms", "Recommended: model", recommended,
        "The fastest model, among those of the front within 0.5 points of the best validation ",
        "12 architectures", "12 proposals refused for its limits", "n = 2,000", "estimated",
        "None of the space's width-scaled networks meets the budget of 9 ms",
        "accuracies were measured in fp32 on a CPU", "squeeze-and-excitation", "onnxruntime",
    ):  # fmt: skip
        assert words.replace("\u00a0", " ") in page.text.replace("\u00a0", " ")
    assert content.count("plotly.js v") == 1


def test_nothing_is_loaded_from_elsewhere(run: RunFolder) -> None:
    page, content = report(run)
    files = {f"models/{entry['id']}.onnx" for entry in run.read_front()["models"]}
    assert set(page.links) == files
    assert "@import" not in content
    outside_of_scripts = re.sub(r"<script.*?</script>", "", content, flags=re.DOTALL)
    assert "http://" not in outside_of_scripts
    assert "https://" not in outside_of_scripts
    assert "<script src" not in content


def test_the_same_run_gives_the_same_page(run: RunFolder) -> None:
    first = write_report(run.path).read_bytes()
    assert write_report(run.path).read_bytes() == first


def test_a_measured_table_is_never_called_estimated(
    new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    page, _ = report(new_run(device=str(table.folder), trials=3, budget="20ms"))
    assert "estimated" not in page.text
    assert "Models for my-board within" in page.text
    assert "Mean absolute percentage error 2.0 %" in page.text
    assert "a <fast> board" in page.text
    assert "accuracies were measured in fp32" not in page.text
    assert "Best finalist that is no slower" in page.text


def test_names_from_outside_are_shown_and_not_run(new_run: NewRun) -> None:
    evil = "</script><script>alert(1)</script>"
    classes = ("<b>cat</b>", "a & b", evil, "'\"")
    page, content = report(new_run(classes=classes, data=f"<img src=x>{evil}"))
    assert "<script>alert(1)" not in content
    assert "<b>cat</b>, a & b" in page.text
    assert f"scored on <img src=x>{evil}" in page.text
    assert not any(link == "x" for link in page.links)


def test_a_name_of_a_device_cannot_break_out_of_a_figure(
    tmp_path: Path, new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    folder = tmp_path / "tables" / "<b onclick=1>&"
    shutil.move(table.folder, folder)
    _, content = report(new_run(device=str(folder), trials=2, budget="20ms"))
    assert "<b onclick" not in content


def test_many_classes_are_not_all_listed(new_run: NewRun) -> None:
    page, _ = report(new_run(classes=[f"class {i}" for i in range(100)], trials=2, finalists=1))
    assert "class 19 and 80 more" in page.text
    assert "100 classes" in page.text


def test_dominated_finalists_are_marked(
    run: RunFolder, edit: Callable[[Path, Callable[[Any], None]], None]
) -> None:
    def lose(front: Any) -> None:
        front["fronts"][0]["models"] = [front["recommended"]]

    edit(run.front, lose)
    page, _ = report(run)
    assert page.words.count("dominated") == 3
    assert "3 finalists marked dominated" in page.text


def test_a_page_without_table_and_space_is_still_a_page(
    new_run: NewRun, measured_table: Callable[[], LatencyTable]
) -> None:
    table = measured_table()
    run = new_run(device=str(table.folder), trials=2, budget="20ms", baselines=False)
    shutil.rmtree(table.folder)
    content = run.read_run()
    content["settings"]["space"] = "gone.yaml"
    run.write_run(content)
    page, _ = report(run)
    assert "The latency table my-board was not found" in page.text
    assert "The search space mobilenetv3 was not found" in page.text
    assert "The architectures are not drawn" in page.text


def test_a_folder_without_a_run_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(
        RunFolderError, match="nothing does not exist; allowed: a folder that nas search"
    ):
        write_report(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_plotly_is_loaded_only_to_draw() -> None:
    program = (
        "import sys, nas, nas.report, nas.report.data, nas.report.snippet\n"
        "print('plotly' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_page_shows_measured_beside_predicted(measured_run: RunFolder) -> None:
    page, content = report(measured_run)
    models = measured_run.read_front()["models"]
    for words in (
        "Measured as whole models on a <real> board", "Measured latency", "OVER THE BUDGET of 9 ms",
        "another processor or power mode than the table", "measured as a whole model",
        "Crosses: measured",
        "The predicted latencies on jetson-nano are estimated",
    ):  # fmt: skip
        assert words in page.text
    [over] = [m for m in load_report(measured_run.path).finalists if m.measured[0].over_budget]
    assert content.count('<span class="tag over the budget">') == 1 + over.recommended
    assert "before relying on its latency" not in page.text, "it was measured"
    for model in models:
        latency = model["latency_ms"]["jetson-nano"]
        deviation = 100 * (latency["measured"]["latency_ms"] / latency["predicted"] - 1)
        assert f"{deviation:+.1f} %" in page.text


def test_a_page_without_measurements_has_no_column_for_them(run: RunFolder) -> None:
    page, _ = report(run)
    assert "Measured latency" not in page.text and "Crosses" not in page.text
