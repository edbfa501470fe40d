"""The networks behind the estimated tables are the published ones."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "latency"))
published_networks = importlib.import_module("published_networks")

PARAMS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "mnasnet0_5": 2_218_512,
    "mnasnet0_75": 3_170_208,
    "mnasnet1_0": 4_383_312,
    "mnasnet1_3": 6_282_256,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
}
# Millions of multiply-adds as the papers round them: ResNet (table 1), MobileNetV1 (table 4), V2
# (table 4), V3 (table 3), MNASNet-B1 (table 1 of the paper).
MILLION_MACS = {
    "resnet18": 1800,
    "resnet34": 3600,
    "mobilenet_v1": 569,
    "mobilenet_v2": 300,
    "mobilenet_v3_large": 219,
    "mobilenet_v3_small": 56,
    "mnasnet1_0": 315,
}


def test_every_network_has_published_parameters():
    assert set(published_networks.BUILDERS) == set(PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_equal_the_published_ones(name):
    assert published_networks.published_network(name).params == PARAMS[name]


@pytest.mark.parametrize("name", MILLION_MACS)
def test_macs_are_the_papers(name):
    macs = published_networks.published_network(name).macs
    assert macs / 1e6 == pytest.approx(MILLION_MACS[name], rel=0.03)


def test_a_larger_input_costs_more_and_keeps_the_parameters():
    small = published_networks.published_network("mobilenet_v2")
    large = published_networks.published_network("mobilenet_v2", 300)
    assert large.params == small.params
    assert large.macs > 1.5 * small.macs


def test_squeezenet_has_no_other_size():
    with pytest.raises(ValueError, match="224 px, not 256"):
        published_networks.published_network("squeezenet1_0", 256)
