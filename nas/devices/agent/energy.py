"""Energy of one inference, where the board has a meter; where it has none, nothing is said.

Counters of joules (RAPL) are read before and after. Sensors of watts (INA3221, a battery) are read
again and again in a thread while the model runs, and integrated over time. Either way it is the
energy of everything behind the meter, what it would use while idle too.
"""

import functools
import glob
import json
import math
import os
import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .session import read_lines
from .timing import Clock, Run, SelfTimed

ROOT = "/"
COUNTER_S = 0.3
"""RAPL's counters move about every millisecond: a part in some hundreds of this."""
SENSOR_S = 1.0
EVERY_S = 0.02
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")
"""What NVIDIA calls the input of a whole board or module; parts of it are not added up."""
GIVE_UP = 3
"""So many items in a row of which the meter says nothing."""

Finish = Callable[[], Optional[float]]


class Meter(NamedTuple):
    """What tells energy.

    Attributes:
        name: What and where.
        least_s: How long an item is repeated.
        begin: Starts a measurement; its result ends it and tells the joules, None if unknown.
    """

    name: str
    least_s: float
    begin: Callable[[Clock], Finish]


def find_meter() -> Optional[Meter]:
    """The meter closest to the whole board; None where there is none that can be read."""
    return _ina3221() or _rapl() or _battery()


def measure_energies(
    items: Sequence[str],
    load: Callable[[str], Run],
    meter: Meter,
    journal: str,
    job: str,
    progress: Callable[[int], None],
    clock: Clock = time.perf_counter,
) -> Dict[str, float]:
    """Millijoules of one inference of each item; what the meter does not tell is left out.

    Finished items are kept in a journal and not measured again, as a session's are.
    """
    subject = f"{job} {meter.name}"
    lines = read_lines(journal, subject, [str, float])
    found = {item: millijoules for item, millijoules in lines if item in items}
    silent = 0
    for done, item in enumerate(items, 1):
        if item not in found and silent < GIVE_UP:
            millijoules = measure_energy(load(item), meter, clock)
            silent = silent + 1 if millijoules is None else 0
            if millijoules is not None:
                found[item] = millijoules
                with open(journal, "a", encoding="utf-8") as file:
                    file.write(json.dumps([item, millijoules]) + "\n")
        progress(done)
    return found


def measure_energy(run: Run, meter: Meter, clock: Clock) -> Optional[float]:
    """Millijoules of one run, from as many as the meter needs.

    None of what its runtime times in a process of its own: most of that is starting it.
    """
    if isinstance(run, SelfTimed):
        return None
    run()  # the first one still prepares
    finish = meter.begin(clock)
    start, runs = clock(), 0
    try:
        while not runs or clock() - start < meter.least_s:
            run()
            runs += 1
    finally:
        joules = finish()
    if joules is None or not math.isfinite(joules) or joules <= 0:
        return None
    return 1e3 * joules / runs


# Counters


def _rapl() -> Optional[Meter]:
    """All processor packages of Intel's and AMD's counters; often only root may read them."""
    zones = [
        zone for zone in sorted(glob.glob(ROOT + "sys/class/powercap/intel-rapl:*"))
        if (_text(zone, "name") or "").startswith("package-")
    ]  # fmt: skip
    if not zones or any(_number(zone, "energy_uj") is None for zone in zones):
        return None

    def begin(clock: Clock) -> Finish:
        before = {zone: _number(zone, "energy_uj") for zone in zones}

        def finish() -> Optional[float]:
            used = [_used_uj(zone, before[zone]) for zone in zones]
            known = [one for one in used if one is not None]
            return 1e-6 * sum(known) if len(known) == len(used) else None

        return finish

    names = [_text(zone, "name") or "" for zone in zones]
    return Meter("RAPL " + ", ".join(names), COUNTER_S, begin)


def _used_uj(zone: str, before: Optional[int]) -> Optional[int]:
    """What a counter has counted since; it begins again at zero after its highest value."""
    after = _number(zone, "energy_uj")
    if before is None or after is None:
        return None
    if after >= before:
        return after - before
    highest = _number(zone, "max_energy_range_uj")
    return None if highest is None else after + highest - before


# Sensors


def _ina3221() -> Optional[Meter]:
    """The input of a Jetson; its driver is a hwmon one since JetPack 5, before an IIO one."""
    for chip in sorted(glob.glob(ROOT + "sys/class/hwmon/hwmon*")):
        if _text(chip, "name") != "ina3221":
            continue
        for channel in "123":
            rail = _text(chip, "in" + channel + "_label")
            names = "in" + channel + "_input", "curr" + channel + "_input"
            if rail in TOTAL_RAILS and _product(chip, names) is not None:
                return _sensor("INA3221 " + rail, chip, names, 1e-6)  # mV times mA
    for chip in sorted(glob.glob(ROOT + "sys/bus/i2c/drivers/ina3221x/*/iio*")):
        for channel in "012":
            rail = _text(chip, "rail_name_" + channel)
            power = ("in_power" + channel + "_input",)
            if rail in TOTAL_RAILS and _product(chip, power) is not None:
                return _sensor("INA3221 " + rail, chip, power, 1e-3)  # mW
    return None


def _battery() -> Optional[Meter]:
    """A battery that is discharging: what flows out of it is what the machine uses."""
    for supply in sorted(glob.glob(ROOT + "sys/class/power_supply/*")):
        if _text(supply, "type") != "Battery" or _text(supply, "scope") == "Device":
            continue  # a mains adapter; the battery of a mouse
        name = "battery " + os.path.basename(supply)
        for files, unit in ((("power_now",), 1e-6), (("current_now", "voltage_now"), 1e-12)):
            if _discharging(supply) and _product(supply, files) is not None:
                return _sensor(name, supply, files, unit, functools.partial(_discharging, supply))
    return None


def _discharging(supply: str) -> bool:
    return _text(supply, "status") == "Discharging"


def _sensor(
    name: str,
    folder: str,
    files: Tuple[str, ...],
    unit: float,
    valid: Callable[[], bool] = lambda: True,
) -> Meter:
    """A meter that reads watts as the product of `files` times `unit`."""

    def watts() -> Optional[float]:
        product = _product(folder, files)
        return None if product is None or not valid() else abs(product) * unit

    return Meter(name, SENSOR_S, lambda clock: Sampler(watts, clock).finish)


class Sampler:
    """Reads a power in a thread from its making until `finish`."""

    def __init__(self, watts: Callable[[], Optional[float]], clock: Clock) -> None:
        self.watts, self.clock = watts, clock
        self.samples: List[Tuple[float, Optional[float]]] = []
        self.stop = threading.Event()
        self._sample()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.wait(EVERY_S):
            self._sample()

    def _sample(self) -> None:
        self.samples.append((self.clock(), self.watts()))

    def finish(self) -> Optional[float]:
        """Joules since the start; None if a single reading failed."""
        self.stop.set()
        self.thread.join()
        self._sample()
        return integrate(self.samples)


def integrate(samples: Sequence[Tuple[float, Optional[float]]]) -> Optional[float]:
    """Joules from watts at seconds, straight lines between them; None with a gap in them."""
    joules = 0.0
    for place in range(1, len(samples)):
        (start, first), (end, second) = samples[place - 1], samples[place]
        if first is None or second is None:
            return None
        joules += (end - start) * (first + second) / 2
    return joules


def _product(folder: str, files: Sequence[str]) -> Optional[int]:
    product = 1
    for name in files:
        value = _number(folder, name)
        if value is None:
            return None
        product *= value
    return product


def _number(folder: str, name: str) -> Optional[int]:
    text = _text(folder, name)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _text(folder: str, name: str) -> Optional[str]:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
