"""Numbers and pieces of HTML."""

from __future__ import annotations

import pytest

from nas.report.markup import (
    Column,
    definitions,
    interval,
    latency,
    latency_interval,
    link,
    percent,
    points,
    table,
    tag,
)
from nas.report.values import Accuracy, Latency


@pytest.mark.parametrize(
    ("latency_ms", "written"),
    [
        (3, "3.00 ms"),
        (0.125, "0.125 ms"),
        (0.0012345, "0.00123 ms"),
        (12.345, "12.3 ms"),
        (126.4, "126 ms"),
        (999.6, "999.6 ms"),
        (12345, "12345 ms"),
    ],
)
def test_latencies_have_three_digits(latency_ms: float, written: str) -> None:
    assert latency(latency_ms) == written


def test_intervals() -> None:
    assert interval(Accuracy(0.98, 0.9634, 1.0, 10)) == "96.3 to 100.0 %"
    assert latency_interval(Latency(3, 1.5, 7.484, "estimated", 7.484)) == "1.50 to 7.48 ms"
    assert percent(0.1) == "10.0 %"


def test_differences_carry_their_sign() -> None:
    assert [points(0.006), points(-0.006), points(0)] == [
        "+0.6 points", "−0.6 points", "±0.0 points"
    ]  # fmt: skip


def test_text_is_escaped_and_paths_are_quoted() -> None:
    assert link("a b/<c>.onnx", "<c>") == '<a href="a%20b/%3Cc%3E.onnx">&lt;c&gt;</a>'
    assert tag("<x>") == '<span class="tag &lt;x&gt;">&lt;x&gt;</span>'
    assert "<b>" not in definitions([("<b>", "<b>")])
    assert "<b>" not in table([Column("<b>")], [])
