"""The figures of a report. Every mark differs in shape as well as in colour.

Colours are of the palette that colour-blind people can tell apart (Okabe and Ito 2008,
https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import cycle

import plotly.graph_objects as go

from nas.latency.device_file import LeftOutFamilies
from nas.report.values import (
    Ranking,
    ReportData,
    TableFacts,
)

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#007A5A"
INK, GREY, PALE = "#24292f", "#8a929a", "#e4e7eb"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
BARS = {BLUE: "rgba(0,114,178,0.35)", VERMILLION: "rgba(213,94,0,0.6)", GREEN: "rgba(0,122,90,0.4)"}
"""Error bars are paler than the marks they belong to."""
LINES = ((BLUE, "solid"), (VERMILLION, "dash"), (GREEN, "dot"), (INK, "dashdot"))
"""Of the fronts of several devices."""


def history_figure(data: ReportData) -> go.Figure:
    """Best hypervolume so far over the scored architectures, of each front."""
    figure = blank_figure(legend=len(data.fronts) > 1)
    for front, (color, dash) in zip(data.fronts, cycle(LINES)):
        counts = list(range(1, len(front.history) + 1))
        shares = [100 * share for share in front.history]
        name = escape(data.front_device(front).short)
        figure.add_trace(
            go.Scatter(
                x=counts,
                y=shares,
                mode="lines",
                line={"shape": "hv", "color": color, "width": 2, "dash": dash},
                hovertemplate="after %{x} architectures: %{y:.1f} %<extra></extra>",
                name=name,
            )
        )
        better = [i for i, share in enumerate(shares) if i == 0 or share > shares[i - 1] + 1e-9]
        figure.add_trace(
            go.Scatter(
                x=[counts[i] for i in better],
                y=[shares[i] for i in better],
                mode="markers",
                marker={"color": color, "size": 7},
                text=[f"{data.trials[i].id}, from {escape(data.trials[i].origin)}" for i in better],
                hovertemplate="%{text}<br>%{y:.1f} % after %{x} architectures<extra></extra>",
                showlegend=False,
            )
        )
    figure.update_xaxes(title="Scored architectures", rangemode="tozero")
    figure.update_yaxes(title="Hypervolume (%)")
    return figure


def ranking_figure(ranking: Ranking) -> go.Figure:
    """The supernet's accuracy of architectures against theirs after training from scratch."""
    figure = blank_figure(legend=False)
    figure.add_trace(
        go.Scatter(
            x=[100 * scored for _, scored, _ in ranking.points],
            y=[100 * trained for _, _, trained in ranking.points],
            mode="markers",
            marker={"color": BLUE, "size": 8, "line": {"width": 1, "color": "white"}},
            text=[name for name, _, _ in ranking.points],
            hovertemplate="%{text}<br>supernet %{x:.1f} %<br>trained %{y:.1f} %<extra></extra>",
        )
    )
    figure.update_xaxes(title="Validation accuracy with the supernet's weights (%)")
    figure.update_yaxes(title="Trained from scratch (%)")
    return figure


def certificate_figure(table: TableFacts | None) -> go.Figure | None:
    """How far a table was from the truth; `None` where nothing is known about that."""
    if table is None:
        return None
    if table.families is not None:
        return families_figure(table.families)
    points = [point for c in table.calibrations for point in c.certificate.points]
    return whole_models_figure(points) if points else None


def whole_models_figure(points: Sequence[Sequence[float]]) -> go.Figure:
    """Predicted against measured latency of whole models, the diagonal, and 10 % either side."""
    low, high = 0.9 * min(map(min, points)), 1.1 * max(map(max, points))
    figure = blank_figure()
    figure.add_trace(
        go.Scatter(
            x=[low, high, high, low],
            y=[0.9 * low, 0.9 * high, 1.1 * high, 1.1 * low],
            fill="toself",
            fillcolor=PALE,
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            name="±10 %",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": INK, "width": 1, "dash": "dash"},
            hoverinfo="skip",
            name="Predicted = measured",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[predicted for predicted, _ in points],
            y=[measured for _, measured in points],
            mode="markers",
            marker={"color": BLUE, "size": 8, "line": {"width": 1, "color": "white"}},
            hovertemplate="predicted %{x:.3g} ms<br>measured %{y:.3g} ms<extra></extra>",
            name="Whole model",
        )
    )
    figure.update_xaxes(title="Predicted latency (ms)", range=[low, high])
    figure.update_yaxes(title="Measured latency (ms)", range=[low, high])
    return figure


def families_figure(certificate: LeftOutFamilies) -> go.Figure:
    """Error of the estimate for every family of networks that was left out of the fit."""
    families = sorted(certificate.families, key=lambda f: (f.device, f.median_error), reverse=True)
    names = [f"{escape(f.family)} ({f.networks})<br>{escape(f.device)}" for f in families]
    figure = blank_figure()
    figure.add_trace(
        go.Bar(
            y=names,
            x=[100 * family.median_error for family in families],
            orientation="h",
            marker={"color": BLUE},
            hovertemplate="median error %{x:.0f} %<extra>%{y}</extra>",
            name="Median error",
        )
    )
    figure.add_trace(
        go.Scatter(
            y=names,
            x=[100 * family.largest_error for family in families],
            mode="markers",
            marker={"symbol": "diamond", "size": 10, "color": VERMILLION},
            hovertemplate="largest error %{x:.0f} %<extra>%{y}</extra>",
            name="Largest error",
        )
    )
    figure.update_xaxes(title="Error of estimated latency (%)", rangemode="tozero")
    figure.update_yaxes(automargin=True, showgrid=False)
    figure.update_layout(bargap=0.45)
    return figure


def blank_figure(*, legend: bool = True) -> go.Figure:
    """Axes and legend in the report's style, and nothing on them."""
    figure = go.Figure()
    axis = {
        "gridcolor": PALE,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
        "zeroline": False,
        "title": {"standoff": 12},
    }
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 16, "t": 16, "b": 60},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT}},
        dragmode="zoom",
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure
