"""What is known about the machine that is measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

THERMAL = Path("/sys/class/thermal")


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


def describe_conditions() -> dict[str, str | int | float | None]:
    """What changes while a machine runs: temperature, clock, load, power mode, free processors."""
    facts: dict[str, str | int | float | None] = {
        "temperature_c": _temperature_c(),
        "frequency_khz": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "load": round(psutil.getloadavg()[0], 2),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "power_mode": _power_mode(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _temperature_c() -> float | None:
    """The hottest thermal zone."""
    texts = [_read(str(path)) for path in THERMAL.glob("thermal_zone*/temp")]
    values = [int(text) for text in texts if text is not None and text.lstrip("-").isdigit()]
    return max(values) / 1000 if values else None


def _power_mode() -> str | None:
    """The mode of a Jetson, as `nvpmodel -q` tells it."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_power_mode(done.stdout)


def parse_power_mode(text: str) -> str | None:
    """`NV Power Mode: MAXN` and the number below it, as one text."""
    for line in text.splitlines():
        if line.startswith("NV Power Mode:"):
            return line.partition(":")[2].strip()
    return None


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
