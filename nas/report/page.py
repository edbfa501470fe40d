"""One self-contained HTML page that shows a run; it opens offline."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from nas.files import write_text
from nas.report import certificates, drawing, figures, sections, tables
from nas.report.data import load_report
from nas.report.front_figure import front_figure
from nas.report.markup import text
from nas.report.values import DeviceFacts, Ranking, ReportData
from nas.search.run_folder import RunFolder

CONFIG = {
    "displayModeBar": False,
    "responsive": True,
}


def write_report(folder: Path) -> Path:
    """Write `report.html` of a finished run, whole or not at all.

    Returns:
        The page's path.

    Raises:
        RunFolderError: There is no finished run, or the folder cannot be written.
        DiskFullError: No space is left.
    """
    run = RunFolder(folder)
    write_text(run.report, render_page(load_report(folder)))
    return run.report


def render_page(data: ReportData) -> str:
    """The page as text; nothing in it is loaded from elsewhere."""
    css = resources.files("nas.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(sections.title(data))}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        f"{_body(data)}\n</main>\n</body>\n</html>\n"
    )


def _body(data: ReportData) -> str:
    fronts = [
        _figure(front_figure(data, number), f"front-{number}", 480, first=number == 0)
        for number in range(len(data.axes))
    ]
    history = _figure(figures.history_figure(data), "history", 300)
    return "\n".join(
        (
            sections.headline(data),
            _section("Front", "".join(fronts) + sections.front_caption(data)),
            _section("Finalists", tables.finalists_table(data)),
            _section("Caveats", sections.caveats(data)),
            _section("Run the recommended model", sections.usage(data)),
            _section("Baselines", tables.baselines_table(data)),
            _section("Architectures", drawing.stacks(data)),
            _section("Search history", sections.history_text(data) + history),
            _ranking(data.ranking),
            _section(
                "How good the latencies are",
                "".join(_certificate(device, data) for device in data.facts.devices),
            ),
            _section("What was searched", sections.facts_list(data)),
        )
    )


def _ranking(ranking: Ranking | None) -> str:
    if ranking is None:
        return ""
    told = "".join(f"<p>{text(line)}</p>" for line in ranking.lines)
    figure = _figure(figures.ranking_figure(ranking), "ranking", 360)
    return _section("How good the ranks are", f'{told}<div class="narrow">{figure}</div>')


def _certificate(device: DeviceFacts, data: ReportData) -> str:
    figure = figures.certificate_figure(device.details)
    number = data.facts.devices.index(device)
    drawn = "" if figure is None else _figure(figure, f"certificate-{number}", 400)
    return f'{certificates.certificate_text(device, data)}<div class="narrow">{drawn}</div>'


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{text(title)}</h2>\n{content}\n</section>"


def _figure(figure: Any, name: str, height: int, *, first: bool = False) -> str:
    """A figure's HTML; the first one on a page carries plotly.js."""
    drawn = figure.to_html(
        config=CONFIG,
        include_plotlyjs=first,
        full_html=False,
        default_height=f"{height}px",
        div_id=f"figure-{name}",
    )
    return f'<div class="figure" style="min-height:{height}px">{drawn}</div>\n'
