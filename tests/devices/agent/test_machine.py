"""What is written down about the machine that is measured."""

import json

import pytest

from nas.devices.agent import machine
from nas.devices.agent.machine import (
    describe_conditions,
    describe_machine,
    describe_processor,
    spans,
)


def test_this_machine():
    facts = describe_machine()
    assert {"processor", "architecture", "system", "cores", "python"} <= set(facts)
    assert None not in facts.values()
    assert facts == describe_machine() == json.loads(json.dumps(facts))


CPUINFO = """\
processor\t: 0
cpu family\t: 26
model\t\t: 17
model name\t: Some Processor

processor\t: 1
model\t\t: 99
"""


def test_names_alone_are_too_coarse(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: CPUINFO if "cpuinfo" in path else None)
    assert describe_processor() == "Some Processor (family 26, model 17)"


def test_a_system_that_tells_little(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: None)
    assert describe_processor()
    assert "governor" not in describe_machine()


def test_the_conditions_of_this_machine():
    facts = describe_conditions()
    assert facts["load"] >= 0 and facts["usable_cores"] >= 1
    assert json.loads(json.dumps(facts)) == facts


def test_the_hottest_zone_and_the_clock(monkeypatch, tmp_path):
    zones = tmp_path / "sys" / "class" / "thermal"
    for number, text in enumerate(["41000\n", "67500\n", "broken"]):
        (zones / f"thermal_zone{number}").mkdir(parents=True)
        (zones / f"thermal_zone{number}" / "temp").write_text(text)
    monkeypatch.setattr(machine, "ROOT", f"{tmp_path}/")
    assert describe_conditions()["temperature_c"] == 67.5


def test_a_board_is_called_by_its_own_name(monkeypatch, tmp_path):
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    model = tmp_path / "proc" / "device-tree" / "model"
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    monkeypatch.setattr(machine, "ROOT", f"{tmp_path}/")
    assert describe_processor() == "Raspberry Pi 4 Model B Rev 1.4"


def test_the_power_mode_of_a_jetson(monkeypatch, tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Fan Mode:quiet'\necho 'NV Power Mode: MAXN'\necho 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_conditions()["power_mode"] == "MAXN"
    tool.write_text("#!/bin/sh\nexit 3\n")
    assert "power_mode" not in describe_conditions()


def test_the_clocks_of_a_jetson(monkeypatch, tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "ROOT", f"{tmp_path}/")
    gpu = tmp_path / "sys" / "devices" / "gpu.0" / "devfreq" / "57000000.gpu"
    gpu.mkdir(parents=True)
    for end, value in {"min": 76800000, "max": 921600000, "cur": 460800000}.items():
        (gpu / f"{end}_freq").write_text(f"{value}\n")
    for core in range(4):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_min_freq").write_text("1479000\n")
        (folder / "scaling_max_freq").write_text("1479000\n")
    facts = describe_conditions()
    assert (facts["cpu_clocks"], facts["gpu_clocks"]) == ("fixed", "free")
    assert (facts["gpu_frequency_hz"], facts["jetson_clocks"]) == ("460800000", "off")
    (gpu / "min_freq").write_text("921600000\n")
    assert describe_conditions()["jetson_clocks"] == "on"
    (tmp_path / "sys/devices/system/cpu/cpu3/cpufreq/scaling_min_freq").write_text("102000\n")
    assert describe_conditions()["jetson_clocks"] == "off"


def test_a_board_that_does_not_tell_its_clocks(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "ROOT", f"{tmp_path}/")
    assert not {"cpu_clocks", "gpu_clocks", "gpu_frequency_hz", "jetson_clocks"} & set(
        describe_conditions()
    )


@pytest.mark.parametrize(
    ("numbers", "text"), [([0], "0"), ([0, 1, 2, 3], "0-3"), ([0, 2, 3, 7], "0,2-3,7")]
)
def test_processors_in_few_words(numbers, text):
    assert spans(numbers) == text


def test_a_graphics_card_is_named(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA T4'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_machine()["gpu"] == "NVIDIA H200"
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert "gpu" not in describe_machine()


def test_the_name_of_a_phone(monkeypatch, tmp_path):
    tool = tmp_path / "getprop"
    tool.write_text(
        "#!/bin/sh\ncase $1 in ro.product.manufacturer) echo Maker;; ro.product.model) echo M 7;; "
        "ro.soc.model) echo SM8550;; *) echo;; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_processor() == "Maker M 7 SM8550"
