"""Search spaces: a YAML file, the architectures in it, and the blocks they are made of."""

from nas.space.architecture import Architecture, Network
from nas.space.blocks import Block, BlockKey
from nas.space.load import load_space, space_names
from nas.space.space import Dimension, SearchSpace

__all__ = [
    "Architecture",
    "Block",
    "BlockKey",
    "Dimension",
    "Network",
    "SearchSpace",
    "load_space",
    "space_names",
]
