"""Quantities as people write them: "20ms", "10m", and numbers written back for people."""

from __future__ import annotations

import math
import re

from nas.errors import UnitError

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Zµμ]*)\s*")
_LATENCY = {"us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
_DURATION = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1.0, "KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9,
          "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}  # fmt: skip
_ENERGY = {"uJ": 1e-3, "µJ": 1e-3, "μJ": 1e-3, "mJ": 1.0, "J": 1e3}
_COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_latency_ms(text: str, what: str = "a latency budget") -> float:
    """Read a latency such as `20ms`, `800us` or `1.5s` in milliseconds.

    Raises:
        UnitError: No unit, an unknown unit, or not a positive finite number.
    """
    return _parse(text, what, _LATENCY, "20ms")


def parse_duration_s(text: str, what: str = "a time limit") -> float:
    """Read a duration such as `90s`, `20m` or `2h` in seconds.

    Raises:
        UnitError: No unit, an unknown unit, or not a positive finite number.
    """
    return _parse(text, what, _DURATION, "20m")


def parse_bytes(text: str, what: str = "a size") -> float:
    """Read a number of bytes such as `4MB`, `512KiB` or `800B`; KB, MB and GB are decimal.

    Raises:
        UnitError: No unit, an unknown unit, or not a positive finite number.
    """
    return _parse(text, what, _BYTES, "4MB")


def parse_energy_mj(text: str, what: str = "an energy") -> float:
    """Read an energy such as `5mJ`, `800uJ` or `0.1J` in millijoules.

    Raises:
        UnitError: No unit, an unknown unit, or not a positive finite number.
    """
    return _parse(text, what, _ENERGY, "5mJ")


def parse_count(text: str, what: str = "a number") -> float:
    """Read a count such as `50M`, `1.2G` or `300000`.

    Raises:
        UnitError: An unknown unit, or not a positive finite number.
    """
    return _parse(text, what, _COUNT, "50M")


def _parse(text: str, what: str, units: dict[str, float], example: str) -> float:
    names = ", ".join(sorted(unit for unit in units if unit and unit.isascii()))
    allowed = f"a positive number{' alone or' if '' in units else ''} followed by {names}"
    match = _NUMBER.fullmatch(text)
    if match is None:
        rule = f"{what} is a number{'' if '' in units else ' with a unit'}"
        raise UnitError(rule, got=text, allowed=allowed, do=example)
    number, unit = match.groups()
    if unit not in units:
        rule = f"{what} has an unknown unit" if unit else f"{what} needs a unit"
        raise UnitError(rule, got=text, allowed=allowed, do=example)
    value = float(number) * units[unit]
    if not math.isfinite(value) or value <= 0:
        rule = f"{what} is above zero" if value <= 0 else f"{what} is finite"
        raise UnitError(rule, got=text, allowed=allowed, do=example)
    return value


def format_latency_ms(latency_ms: float) -> str:
    """`20 ms`, `0.482 ms`: three significant digits, always in milliseconds."""
    return f"{_significant(latency_ms)} ms"


def format_duration_s(seconds: float) -> str:
    """`48 s`, `4 min 10 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_count(value: float) -> str:
    """`512`, `38.2 k`, `1.27 M`, `3.4 G`: for parameters and MACs."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{_significant(value / limit)}{suffix}"
    return f"{value:.0f}"


def format_energy_mj(energy_mj: float) -> str:
    """`5 mJ`, `0.482 mJ`: three significant digits, always in millijoules."""
    return f"{_significant(energy_mj)} mJ"


def format_bytes(value: float) -> str:
    """`820 B`, `38.2 KB`, `1.27 MB`: decimal units."""
    for limit, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if abs(value) >= limit:
            return f"{_significant(value / limit)} {suffix}"
    return f"{value:.0f} B"


def plural(number: int, word: str) -> str:
    """`1 image`, `1,000 images`, `3 classes`."""
    if number != 1:
        word += "es" if word.endswith("s") else "s"
    return f"{number:,} {word}"


def _significant(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
