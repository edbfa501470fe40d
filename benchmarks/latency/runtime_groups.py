"""The devices that are fitted together to make an estimated table, and what is known of them.

Data sheets give the priors of the fit (`fit_estimates.py`), never its data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DeviceSpec:
    """What data sheets say: peak multiply-adds and bytes; and guesses for the two overheads."""

    name: str
    gmacs_per_s: float
    gb_per_s: float
    launch_ms: float
    constant_ms: float


@dataclass(frozen=True)
class Check:
    """A published figure that is too vague to fit to, and serves to widen the bound."""

    device: str
    model: str
    input_size: int
    latency_ms: float
    source: str


@dataclass(frozen=True)
class RuntimeGroup:
    """Devices that share a runtime; the first is the one that gets a table."""

    folder: str
    alias: str
    hardware: str
    runtime: str
    threads: int | None
    precision: str
    export: dict[str, Any]
    devices: tuple[DeviceSpec, ...]
    launches: dict[str, float] = field(default_factory=dict)  # per operation; 1 where not named
    checks: tuple[Check, ...] = ()

    @property
    def names(self) -> list[str]:
        return [device.name for device in self.devices]


# Throughputs; quoted by several authors, of whom none states the precision or the batch.
NVIDIA_BLOG = (
    "NVIDIA Developer Blog, Jetson Nano Brings AI Computing to Everyone (March 2019), second-hand"
)
TENSORRT = RuntimeGroup(
    folder="jetson-nano-tensorrt",
    alias="jetson-nano",
    hardware="NVIDIA Jetson Nano (Maxwell, 128 CUDA cores, 4 GB)",
    runtime="tensorrt",
    threads=None,
    precision="fp16",
    export={"opset": 13, "ir_version": 7, "hardswish": False},
    devices=(
        # NVIDIA Jetson Nano module data sheet: 472 GFLOPS fp16, 25.6 GB/s LPDDR4.
        # Constants: latency minus 1/throughput in the same published tables, 0.3 and 0.25 ms.
        DeviceSpec("jetson-nano", 236, 25.6, 0.02, 0.3),
        # NVIDIA Jetson AGX Xavier module data sheet: 11 TFLOPS fp16 (tensor cores), 137 GB/s.
        DeviceSpec("jetson-xavier", 5500, 137, 0.01, 0.25),
    ),
    # TensorRT fuses a residual sum into the convolution before it; squeeze-and-excite is a mean,
    # two convolutions, a gate and a product.
    launches={"add": 0, "squeeze_excite": 5},
    checks=(
        Check("jetson-nano", "resnet50", 224, 1000 / 36, f"{NVIDIA_BLOG}: 36 images/s"),
        Check("jetson-nano", "mobilenet_v2", 300, 1000 / 64, f"{NVIDIA_BLOG}: 64 images/s"),
    ),
)
XNNPACK = RuntimeGroup(
    folder="raspberry-pi-4-xnnpack-4",
    alias="raspberry-pi-4",
    hardware="Raspberry Pi 4 Model B (BCM2711, 4 x Cortex-A72 at 1.5 GHz)",
    runtime="xnnpack",
    threads=4,
    precision="fp32",
    export={"opset": 17, "ir_version": 8, "hardswish": True},
    devices=(
        # Cores x GHz x single-precision multiply-adds per cycle (128-bit NEON: 4; Cortex-A7: 1;
        # Kryo: two pipes, 8), and the memory's nominal rate, from the boards' product briefs.
        DeviceSpec("raspberry-pi-4", 4 * 1.5 * 4, 12.8, 0.02, 0.1),  # LPDDR4-3200, 32 bit
        DeviceSpec("raspberry-pi-3b-plus", 4 * 1.4 * 4, 3.6, 0.03, 0.1),  # LPDDR2-900, 32 bit
        DeviceSpec("raspberry-pi-2", 4 * 0.9 * 1, 3.6, 0.05, 0.1),  # LPDDR2-900, 32 bit
        DeviceSpec("pixel-1", 1 * 2.15 * 8, 14.9, 0.01, 0.1),  # one thread: half of LPDDR4-1866
    ),
    launches={"squeeze_excite": 5},
)
GROUPS = (TENSORRT, XNNPACK)
