"""What the machine tells about itself."""

import glob
import os
import platform
import shutil
import subprocess
from typing import Dict, Iterable, List, Optional, Tuple, Union

Facts = Dict[str, Union[str, int, float, None]]
ROOT = "/"
CPU_CLOCKS = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_{}_freq"
GPU_CLOCKS = (
    "sys/devices/gpu.0/devfreq/*/{}_freq",
    "sys/class/devfreq/*.gpu/{}_freq",
    "sys/class/devfreq/*.g[apv]*b/{}_freq",
)
"""Of a Jetson, in this order: Nano to Xavier, Orin, and the others by the name of their chip."""


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
            "gpu": _gpu(),
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
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cpu, gpu, mode = _clocks((CPU_CLOCKS,)), _clocks(GPU_CLOCKS), _power_mode()
    return _known(
        {
            "temperature_c": _temperature_c(),
            "frequency_khz": _read("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "usable_cores": len(affinity) if affinity else None,
            "affinity": spans(affinity) if affinity else None,
            "cpu_clocks": cpu,
            "gpu_clocks": gpu,
            "gpu_frequency_hz": _first(pattern.format("cur") for pattern in GPU_CLOCKS),
            "power_mode": mode,
            "jetson_clocks": _jetson_clocks(cpu, gpu) if mode else None,
        }
    )


def spans(numbers: Iterable[int]) -> str:
    """Ascending numbers as `0-3,6`."""
    found: List[List[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _clocks(patterns: Tuple[str, ...]) -> Optional[str]:
    """`fixed` where the lowest frequency that is allowed is the highest, else `free`."""
    for pattern in patterns:
        lowest, highest = (
            [_read(path) for path in sorted(glob.glob(ROOT + pattern.format(end)))]
            for end in ("min", "max")
        )
        if lowest and None not in lowest + highest:
            return "fixed" if lowest == highest else "free"
    return None


def _jetson_clocks(cpu: Optional[str], gpu: Optional[str]) -> Optional[str]:
    """Whether it is in force, from what it does: only root may ask it."""
    if cpu is None or gpu is None:
        return None
    return "on" if cpu == gpu == "fixed" else "off"


def _first(patterns: Iterable[str]) -> Optional[str]:
    """The first file there is."""
    for pattern in patterns:
        for path in sorted(glob.glob(ROOT + pattern)):
            return _read(path)
    return None


def _known(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if value is not None}


def _temperature_c() -> Optional[float]:
    """The hottest thermal zone."""
    texts = [_read(path) for path in glob.glob(ROOT + "sys/class/thermal/thermal_zone*/temp")]
    values = [int(text) for text in texts if text is not None and text.lstrip("-").isdigit()]
    return max(values) / 1000 if values else None


def _power_mode() -> Optional[str]:
    """The mode of a Jetson: the line `NV Power Mode: MAXN` of `nvpmodel -q`."""
    for line in _said("nvpmodel", "-q"):
        if line.startswith("NV Power Mode:"):
            return line.partition(":")[2].strip()
    return None


def _gpu() -> Optional[str]:
    """The graphics card that CUDA counts first; a Jetson's is told by the board's name."""
    names = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names[0].strip() if names else None


def _said(name: str, *options: str) -> List[str]:
    """The lines of a tool; none if it is missing or fails."""
    tool = shutil.which(name)
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10,
            check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode("utf-8", "replace").splitlines()


def _phone() -> str:
    """Maker, model and chip of an Android device: its processor has no name of its own."""
    names = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model")
    return " ".join(
        line.strip() for name in names for line in _said("getprop", name) if line.strip()
    )


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
