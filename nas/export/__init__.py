"""Deployable files: the ONNX graph of a network, its check against torch, its score."""
