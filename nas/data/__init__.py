"""Image data sets: found (`scan`), decoded once per resolution (`decode`), and served in batches.

    index = scan(path, seed)          # classes, splits, fingerprint, size of the sources
    dataset = decode(index, (32, 24)) # uint8 pixels at every resolution, statistics
    dataset.train.at(32)              # N x 32 x 32 x 3, memory-mapped

Formats are sources (`source.py`), one file each: folders (`folder.py`; archives are unpacked into
one), tables (`csv_table.py`), arrays (`arrays.py`). Without a path the data are scikit-learn's
digits. `nas.data.augment` alone imports torch, so it is not imported here.
"""

from nas.data.batches import batch_indices
from nas.data.dataset import Dataset, DatasetIndex, ImageSplit, Progress, SplitIndex, manifest
from nas.data.images import load_image
from nas.data.load import decode, load_dataset, scan
from nas.data.summary import describe

__all__ = [
    "Dataset",
    "DatasetIndex",
    "ImageSplit",
    "Progress",
    "SplitIndex",
    "batch_indices",
    "decode",
    "describe",
    "load_dataset",
    "load_image",
    "manifest",
    "scan",
]
