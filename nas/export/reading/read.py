"""From a file to blocks and what is none."""

from __future__ import annotations

from pathlib import Path

from nas.export.reading.file import load_model
from nas.export.reading.flow import build_flow
from nas.export.reading.layers import find_layers
from nas.export.reading.match import match_blocks
from nas.latency.foreign import ForeignNetwork


def read_onnx(path: Path) -> ForeignNetwork:
    """What a latency table can know of an ONNX model.

    Raises:
        ModelFileError: Not a readable ONNX model with one image input of a fixed size.
    """
    file = load_model(path)
    flow = build_flow(file.model, file.constants, file.image)
    find_layers(flow)
    return match_blocks(flow, file.size, file.notes)
