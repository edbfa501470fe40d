"""A network as torch exports it is read as the operations that the paper's tables give."""

import importlib
import io
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.export.reading import read_onnx
from nas.latency.roofline import block_operations

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "latency"))
published_networks = importlib.import_module("published_networks")


class Basic(nn.Module):
    """The basic block of arXiv:1512.03385, figure 2, its projection where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, outputs, 3, stride), nn.ReLU(), *convolution(outputs, outputs, 3)
        )
        same = stride == 1 and inputs == outputs
        self.short = nn.Sequential(*([] if same else convolution(inputs, outputs, 1, stride)))

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.short(x))


def convolution(inputs, outputs, kernel, stride=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)


def resnet18():
    layers = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for stage in range(4):
        outputs = 64 * 2**stage
        layers.append(Basic(outputs if stage == 0 else outputs // 2, outputs, 2 if stage else 1))
        layers.append(Basic(outputs, outputs, 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
def test_a_resnet_is_the_published_one(tmp_path):
    buffer = io.BytesIO()
    image = torch.zeros(1, 3, 64, 64)
    torch.onnx.export(resnet18().eval(), (image,), buffer, opset_version=13, dynamo=False)
    path = tmp_path / "resnet18.onnx"
    path.write_bytes(buffer.getvalue())
    found = read_onnx(path)
    operations = [o for block in found.blocks for o in block_operations(block)]
    operations += [o for leftover in found.leftovers for o in leftover.operations]
    expected = published_networks.published_network("resnet18", 64)
    assert Counter(operations) == Counter(expected.operations)
    assert found.macs == expected.macs
