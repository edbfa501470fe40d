"""Quantities as people write them, and numbers written for people."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import UnitError
from nas.units import (
    format_bytes,
    format_count,
    format_duration_s,
    format_latency_ms,
    parse_duration_s,
    parse_latency_ms,
    plural,
)


@pytest.mark.parametrize(
    ("text", "latency_ms"),
    [
        ("20ms", 20),
        ("20 ms", 20),
        (" 20ms ", 20),
        ("0.5ms", 0.5),
        (".5ms", 0.5),
        ("5.ms", 5),
        ("+5ms", 5),
        ("2e1ms", 20),
        ("800us", 0.8),
        ("800µs", 0.8),
        ("800μs", 0.8),
        ("1.5s", 1500),
    ],
)
def test_latencies_are_read_in_milliseconds(text, latency_ms):
    assert parse_latency_ms(text) == pytest.approx(latency_ms)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("20min", 1200), ("2h", 7200), ("1.5 h", 5400)],
)
def test_durations_are_read_in_seconds(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds)


ALLOWED = "allowed: a positive number followed by ms, s, us; try: 20ms"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("20", "a latency budget needs a unit"),
        ("0", "a latency budget needs a unit"),
        ("20 parsecs", "a latency budget has an unknown unit"),
        ("20MS", "a latency budget has an unknown unit"),
        ("20m", "a latency budget has an unknown unit"),
        ("0ms", "a latency budget is above zero"),
        ("0.0s", "a latency budget is above zero"),
        ("-5ms", "a latency budget is above zero"),
        ("1e-999ms", "a latency budget is above zero"),
        ("fast", "a latency budget is a number with a unit"),
        ("", "a latency budget is a number with a unit"),
        ("ms", "a latency budget is a number with a unit"),
        ("nanms", "a latency budget is a number with a unit"),
        ("infms", "a latency budget is a number with a unit"),
        ("1,5ms", "a latency budget is a number with a unit"),
        ("20ms or so", "a latency budget is a number with a unit"),
    ],
)
def test_what_is_not_a_latency_is_refused(text, rule):
    with pytest.raises(UnitError, match=f"^{re.escape(f'{rule}; got {text!r}; {ALLOWED}')}$"):
        parse_latency_ms(text)


def test_infinity_is_refused():
    with pytest.raises(UnitError, match="^a latency budget is finite; got '1e999ms'; allowed: "):
        parse_latency_ms("1e999ms")


def test_a_time_limit_lists_its_own_units():
    message = (
        "a time limit needs a unit; got '20'; "
        "allowed: a positive number followed by h, m, min, s; try: 20m"
    )
    with pytest.raises(UnitError, match=f"^{re.escape(message)}$"):
        parse_duration_s("20")


def test_a_message_names_the_quantity():
    with pytest.raises(UnitError, match="^--device jetson-nano=20 needs a unit; "):
        parse_latency_ms("20", "--device jetson-nano=20")


@pytest.mark.parametrize(
    ("latency_ms", "text"),
    [
        (20.0, "20 ms"),
        (0.4821, "0.482 ms"),
        (3.14159, "3.14 ms"),
        (123.4, "123 ms"),
        (1234.5, "1234 ms"),
        (0.0, "0 ms"),
        (100.0, "100 ms"),
        (math.nan, "nan ms"),
        (math.inf, "inf ms"),
    ],
)
def test_latencies_are_written_with_three_digits(latency_ms, text):
    assert format_latency_ms(latency_ms) == text


@given(st.floats(1e-6, 1e6))
def test_a_written_latency_is_read_back_to_three_digits(latency_ms):
    assert parse_latency_ms(format_latency_ms(latency_ms)) == pytest.approx(latency_ms, rel=5.1e-3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-1, "0 s"),
        (48.4, "48 s"),
        (59.6, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert format_duration_s(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (512, "512"), (38_200, "38.2 k"), (1_270_000, "1.27 M"), (3.4e9, "3.4 G")],
)
def test_counts_are_written_for_people(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (820, "820 B"), (38_200, "38.2 KB"), (1_270_000, "1.27 MB"), (5e9, "5 GB")],
)
def test_sizes_are_written_in_decimal_units(value, text):
    assert format_bytes(value) == text


def test_plurals():
    assert [plural(n, "model") for n in (0, 1, 1000)] == ["0 models", "1 model", "1,000 models"]
    assert [plural(n, "class") for n in (1, 2)] == ["1 class", "2 classes"]
