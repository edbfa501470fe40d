"""Meters on trees of files as the kernel writes them, with a clock and a board that the test turns.

The formats: Documentation/power/powercap, Documentation/hwmon/ina3221.rst and the ABI of
/sys/class/power_supply in Linux; rail_name_0 and in_power0_input (mW) of JetPack 4's ina3221x.
"""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.devices.agent import energy
from nas.devices.agent.energy import (
    GIVE_UP,
    Meter,
    Sampler,
    find_meter,
    integrate,
    measure_energies,
    measure_energy,
)
from nas.devices.agent.timing import SelfTimed


class Board:
    """Files below a root, a clock, and a model that takes time and energy when it runs."""

    def __init__(self, root, run_s=0.01):
        self.root, self.run_s, self.now, self.on_run = root, run_s, 0.0, lambda: None
        self.runs = 0

    def write(self, path, **values):
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name).write_text(f"{value}\n")
        return folder

    def run(self):
        self.runs += 1
        self.now += self.run_s
        self.on_run()

    def clock(self):
        return self.now

    def measure(self):
        return measure_energy(self.run, find_meter(), self.clock)


@pytest.fixture
def board(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "ROOT", f"{tmp_path}/")
    return Board(tmp_path)


def test_a_board_without_a_meter_tells_nothing(board):
    board.write("sys/class/hwmon/hwmon0", name="k10temp", temp1_input=41000)
    assert find_meter() is None


# RAPL

POWERCAP = "sys/class/powercap/"


def rapl(board, *packages, highest=262143328850):
    """Each run uses these microjoules; their cores' own counters must not be counted again."""
    counts = list(packages)
    zones = []
    for number, start in enumerate(counts):
        zone = f"{POWERCAP}intel-rapl:{number}"
        zones.append(
            board.write(
                zone, name=f"package-{number}", energy_uj=start, max_energy_range_uj=highest
            )
        )
        board.write(f"{POWERCAP}intel-rapl:{number}:0", name="core", energy_uj=7)
    board.write(f"{POWERCAP}intel-rapl:{len(counts)}", name="psys", energy_uj=9)

    def use(*microjoules):
        for at, used in enumerate(microjoules):
            counts[at] = (counts[at] + used) % highest
            (zones[at] / "energy_uj").write_text(f"{counts[at]}\n")

    return use


def test_all_packages_are_added_up_and_nothing_else(board):
    use = rapl(board, 5_000_000, 100)
    board.on_run = lambda: use(2000, 500)
    assert find_meter().name == "RAPL package-0, package-1"
    assert board.measure() == pytest.approx(2.5)
    assert board.now == pytest.approx(0.01 + 0.3, abs=0.011), "0.3 s after the first run"


def test_a_counter_that_begins_again(board):
    use = rapl(board, 262143320000)
    board.on_run = lambda: use(2000)
    assert board.measure() == pytest.approx(2.0)


def test_a_counter_that_begins_again_nobody_knows_where(board):
    use = rapl(board, 262143320000)
    (board.root / POWERCAP / "intel-rapl:0" / "max_energy_range_uj").unlink()
    board.on_run = lambda: use(2000)
    assert board.measure() is None


def test_a_counter_that_stands_still_is_no_energy_of_zero(board):
    rapl(board, 0)
    assert board.measure() is None


@pytest.mark.parametrize("content", [None, "", "broken", b"\xff"])
def test_a_counter_that_cannot_be_read_is_no_meter(board, content):
    rapl(board, 5, 6)
    path = board.root / POWERCAP / "intel-rapl:1" / "energy_uj"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert find_meter() is None


def test_a_counter_that_vanishes_meanwhile(board):
    use = rapl(board, 5)
    meter = find_meter()
    board.on_run = lambda: use(2000)
    finish = meter.begin(board.clock)
    (board.root / POWERCAP / "intel-rapl:0" / "energy_uj").unlink()
    assert finish() is None


# INA3221

JETPACK_4 = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"


def test_a_jetson_nano_of_jetpack_4(board):
    board.write(
        JETPACK_4, rail_name_0="POM_5V_IN", in_power0_input=3000,
        rail_name_1="POM_5V_GPU", in_power1_input=900,
        rail_name_2="POM_5V_CPU", in_power2_input=1100,
    )  # fmt: skip
    meter = find_meter()
    assert (meter.name, meter.least_s) == ("INA3221 POM_5V_IN", 1.0)
    assert board.measure() == pytest.approx(30.0), "3 W for 10 ms"


def test_a_jetson_of_jetpack_5(board):
    board.write("sys/class/hwmon/hwmon0", name="tmp451", in1_label="VDD_IN", in1_input=1)
    board.write(
        "sys/class/hwmon/hwmon3", name="ina3221",
        in1_label="VDD_CPU_GPU_CV", in1_input=5000, curr1_input=400,
        in2_label="VDD_IN", in2_input=5000, curr2_input=1200, in7_label="sum of shunt voltages",
    )  # fmt: skip
    assert find_meter().name == "INA3221 VDD_IN"
    assert board.measure() == pytest.approx(60.0), "5 V times 1.2 A for 10 ms"


def test_a_jetson_that_does_not_measure_its_input(board):
    board.write(JETPACK_4, rail_name_0="GPU", in_power0_input=900)
    board.write(
        "sys/class/hwmon/hwmon3", name="ina3221", in1_label="VDD_GPU_SOC", in1_input=1,
        curr1_input=1,
    )  # fmt: skip
    assert find_meter() is None


def test_a_whole_boards_meter_goes_before_the_processors(board):
    rapl(board, 5)
    board.write(JETPACK_4, rail_name_0="VDD_IN", in_power0_input=3000)
    assert find_meter().name == "INA3221 VDD_IN"


# Batteries

SUPPLY = "sys/class/power_supply/"


def battery(board, **values):
    board.write(SUPPLY + "AC", type="Mains", online=0)
    return board.write(SUPPLY + "BAT0", **{"type": "Battery", "status": "Discharging", **values})


def test_a_battery_that_tells_its_power(board):
    battery(board, power_now=12_000_000)
    assert find_meter().name == "battery BAT0"
    assert board.measure() == pytest.approx(120.0)


def test_a_battery_that_tells_current_and_voltage(board):
    battery(board, current_now=-1_000_000, voltage_now=12_000_000)
    assert board.measure() == pytest.approx(120.0), "some drivers give what flows out a minus"


@pytest.mark.parametrize("changes", [
    {"status": "Charging"}, {"status": "Full"}, {"status": "Not charging"}, {"status": "Unknown"},
    {"scope": "Device"}, {"type": "UPS"}, {"power_now": ""},
])  # fmt: skip
def test_another_battery_is_no_meter(board, changes):
    battery(board, **{"power_now": 12_000_000, **changes})
    assert find_meter() is None


def test_a_battery_that_is_plugged_in_meanwhile(board):
    folder = battery(board, power_now=12_000_000)
    board.on_run = lambda: (folder / "status").write_text("Charging\n")
    meter = find_meter()
    assert measure_energy(board.run, meter, board.clock) is None


# Sensors over time


def test_a_power_that_changes_is_integrated():
    assert integrate([(0.0, 1.0), (1.0, 1.0), (3.0, 2.0)]) == pytest.approx(1.0 + 3.0)
    assert integrate([(0.0, 1.0), (1.0, None), (3.0, 2.0)]) is None


@given(st.lists(st.floats(0.001, 1e3), min_size=2, max_size=20), st.floats(0.1, 1e3))
def test_a_constant_power_is_power_times_time_however_often_it_is_read(steps, watts):
    times = [sum(steps[:at]) for at in range(len(steps))]
    assert integrate([(t, watts) for t in times]) == pytest.approx(watts * (times[-1] - times[0]))


def test_a_sensor_is_read_while_the_model_runs(monkeypatch):
    """The thread reads again and again until the measurement is finished, and not longer."""
    monkeypatch.setattr(energy, "EVERY_S", 0)
    many, readings = threading.Event(), []

    def watts():
        readings.append(2.0)
        if len(readings) == 50:
            many.set()
        return 2.0

    clock = iter(range(10**9)).__next__
    sampler = Sampler(watts, clock)
    assert many.wait(60), "it reads without being asked"
    joules = sampler.finish()
    assert joules == pytest.approx(2.0 * (len(readings) - 1))
    assert not sampler.thread.is_alive()


def test_a_model_that_fails_ends_the_readings(board):
    board.write(JETPACK_4, rail_name_0="POM_5V_IN", in_power0_input=3000)
    before = threading.active_count()

    def fail():
        if board.runs:
            raise RuntimeError("out of memory")
        board.run()

    with pytest.raises(RuntimeError, match="^out of memory$"):
        measure_energy(fail, find_meter(), board.clock)
    assert threading.active_count() == before


# All items

ITEMS = ["one", "two", "three", "four", "five"]


def told(*joules):
    """A meter that tells these one after the other."""
    left = list(joules)
    return Meter("a meter", 0.0, lambda clock: lambda: left.pop(0))


def measure(tmp_path, meter, loaded, progress=lambda done: None, job="job"):
    def load(item):
        loaded.append(item)
        return lambda: None

    return measure_energies(ITEMS, load, meter, str(tmp_path / "journal"), job, progress)


def test_every_item_is_measured_once_and_not_again(tmp_path):
    loaded, seen = [], []

    def stop(done):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, told(1, 2, 3), loaded, stop)
    found = measure(tmp_path, told(4, 5), loaded, seen.append)
    assert found == {"one": 1e3, "two": 2e3, "three": 3e3, "four": 4e3, "five": 5e3}
    assert loaded == ITEMS and seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("other", [{"job": "another"}, {"meter": "another"}])
def test_energies_of_another_job_or_meter_are_not_used(tmp_path, other):
    loaded = []
    measure(tmp_path, told(1, 1, 1, 1, 1), loaded)
    meter = told(2, 2, 2, 2, 2)
    meter = meter._replace(name=other.get("meter", meter.name))
    found = measure(tmp_path, meter, loaded, job=other.get("job", "job"))
    assert loaded == 2 * ITEMS and set(found.values()) == {2e3}


def test_what_the_meter_does_not_tell_is_left_out(tmp_path):
    found = measure(tmp_path, told(1, None, 0.0, float("nan"), 5), [])
    assert found == {"one": 1e3}, "and after three in a row it is not asked again"
    assert GIVE_UP == 3
    found = measure(tmp_path, told(None, 3, -1, float("inf")), [])
    assert found == {"one": 1e3, "three": 3e3}


# This machine


def test_this_machine():
    meter = find_meter()
    if meter is None:
        pytest.skip("this machine has no meter that can be read")
    times = []

    def run():
        start = time.perf_counter()
        sum(range(10_000))
        times.append(time.perf_counter() - start)

    found = measure_energy(run, meter, time.perf_counter)
    if found is None:
        pytest.skip(f"{meter.name} stands still")
    watts = found / (1e3 * sum(times[1:]) / len(times[1:]))
    assert 0.05 < watts < 5000


def test_what_a_process_of_its_own_times_has_no_energy(tmp_path):
    class OwnProcess(SelfTimed):
        def time(self, effort):
            raise AssertionError("its start would be measured")

    meter = Meter("a meter", 0.1, lambda clock: lambda: 1.0)
    assert measure_energy(OwnProcess(), meter, lambda: 0.0) is None
