"""Reading ONNX files that were not written here: from nodes to layers to the project's blocks.

Nothing of the file is run, and no weights are loaded: sizes are all that a latency depends on.
"""

from nas.export.reading.read import read_onnx

__all__ = ["read_onnx"]
