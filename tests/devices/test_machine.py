"""What is written down about the machine that is measured."""

import json

from nas.devices import machine
from nas.devices.machine import describe_machine, describe_processor


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
    monkeypatch.setattr(machine, "_read", lambda path: CPUINFO)
    assert describe_processor() == "Some Processor (family 26, model 17)"


def test_a_system_that_tells_little(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: None)
    assert describe_processor()
    assert "governor" not in describe_machine()
