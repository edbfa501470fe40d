"""What the machine tells about itself."""

import glob
import os
import platform
import shutil
import subprocess
from typing import Dict, Optional, Union

Facts = Dict[str, Union[str, int, float, None]]
ROOT = "/"


def describe_processor() -> str:
    """A board's name, else the processor's with family and model (names alone are too coarse)."""
    board = _phone() or (_read("proc/device-tree/model") or "").strip("\0 ")
    fields = _cpu_info()
    name = board or fields.get("model name") or platform.processor() or platform.machine()
    if not board and "cpu family" in fields and "model" in fields:
        name += " (family {}, model {})".format(fields["cpu family"], fields["model"])
    return name


def describe_machine() -> Facts:
    """Circumstances that a latency depends on; what the system does not tell is left out."""
    return _known(
        {
            "processor": describe_processor(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "governor": _read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "max_frequency_khz": _read("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        }
    )


def describe_conditions() -> Facts:
    """What changes while a machine runs: temperature, clock, load, power mode, free processors."""
    affinity = getattr(os, "sched_getaffinity", None)
    return _known(
        {
            "temperature_c": _temperature_c(),
            "frequency_khz": _read("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "usable_cores": len(affinity(0)) if affinity else None,
            "power_mode": _power_mode(),
        }
    )


def _known(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if value is not None}


def _temperature_c() -> Optional[float]:
    """The hottest thermal zone."""
    texts = [_read(path) for path in glob.glob(ROOT + "sys/class/thermal/thermal_zone*/temp")]
    values = [int(text) for text in texts if text is not None and text.lstrip("-").isdigit()]
    return max(values) / 1000 if values else None


def _power_mode() -> Optional[str]:
    """The mode of a Jetson: the line `NV Power Mode: MAXN` of `nvpmodel -q`."""
    for line in _output("nvpmodel", "-q").splitlines():
        if line.startswith("NV Power Mode:"):
            return line.partition(":")[2].strip()
    return None


def _phone() -> str:
    """Maker, model and chip of an Android device: its processor has no name of its own."""
    names = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model")
    return " ".join(filter(None, (_output("getprop", name).strip() for name in names)))


def _output(program: str, argument: str) -> str:
    """What a program of the system prints; nothing where there is none."""
    tool = shutil.which(program)
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, argument], stdout=subprocess.PIPE, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _cpu_info() -> Dict[str, str]:
    fields: Dict[str, str] = {}
    for line in (_read("proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _read(path: str) -> Optional[str]:
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
