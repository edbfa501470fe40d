"""Torch modules: networks built from blocks, and the supernet that shares their weights."""

from nas.models.build import build_model
from nas.models.supernet import Supernet

__all__ = ["Supernet", "build_model"]
