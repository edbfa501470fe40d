"""What is known about the machine that is measured."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil


def describe_processor() -> str:
    """The processor's name with family and model, since names alone are often too coarse."""
    fields = _cpu_info()
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def describe_machine() -> dict[str, str | int | float | None]:
    """Circumstances that a latency depends on; what the system does not tell is left out."""
    facts: dict[str, str | int | float | None] = {
        "processor": describe_processor(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": psutil.cpu_count(logical=True),
        "python": platform.python_version(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_frequency_khz": _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _cpu_info() -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
