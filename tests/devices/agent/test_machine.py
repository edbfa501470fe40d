"""What is written down about the machine that is measured."""

import json

from nas.devices.agent import machine
from nas.devices.agent.machine import describe_conditions, describe_machine, describe_processor


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


def test_the_name_of_a_phone(monkeypatch, tmp_path):
    tool = tmp_path / "getprop"
    tool.write_text(
        "#!/bin/sh\ncase $1 in ro.product.manufacturer) echo Maker;; ro.product.model) echo M 7;; "
        "ro.soc.model) echo SM8550;; *) echo;; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_processor() == "Maker M 7 SM8550"
