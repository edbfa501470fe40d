"""Which model shows how fast a device is, beside what."""

import numpy as np
import pytest

from nas.devices.bundle import LARGE, SMALL, Item
from nas.devices.references import beside_large, small_reference
from nas.space import load_space
from nas.space.sample import sample

ITEMS = [Item(f"model {index}") for index in range(11)]


def test_blocks_have_the_smallest_network():
    space = load_space("mobilenetv3")
    item = small_reference(space, "large", (224, 160))
    assert item.id == item.reference == SMALL
    assert item.blocks[0][1].height == 160
    macs = sum(block.cost.macs for _, block in item.blocks)
    drawn = (sample(space, "large", np.random.default_rng(seed)) for seed in range(50))
    assert all(macs < space.network(found, 1000).cost.macs for found in drawn)


@pytest.mark.parametrize(("count", "chosen"), [(11, 9), (2, 0), (1, 0)])
def test_models_have_one_that_is_larger_than_nine_tenths(count, chosen):
    items = [Item(name, file=path) for name, path in ((i.id, f"{i.id}.onnx") for i in ITEMS)]
    sizes = [float(index) for index in range(count)]
    [large], timed = beside_large(items[:count], sizes, "onnxruntime")
    assert (large.id, large.file) == (LARGE, f"model {chosen}.onnx")
    assert [item.id for item in timed] == [item.id for item in items[:count]]
    assert {item.reference for item in timed} == {LARGE}


def test_the_order_of_the_models_does_not_matter():
    items = [Item(i.id, file=i.id) for i in ITEMS]
    forth, _ = beside_large(items, range(11), "openvino")
    back, _ = beside_large(items[::-1], range(10, -1, -1), "openvino")
    assert forth == back


@pytest.mark.parametrize(("items", "runtime"), [([], "onnxruntime"), (ITEMS, "tensorrt")])
def test_no_large_reference(items, runtime):
    """Blocks alone need none; trtexec starts for seconds each time."""
    assert beside_large(items, range(len(items)), runtime) == ((), tuple(items))
