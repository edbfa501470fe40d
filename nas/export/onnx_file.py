"""Writing a model's ONNX file, running it with onnxruntime, and checking it against torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from nas.errors import ExportError
from nas.export.graph import GraphTarget, Weights, build_segments
from nas.files import atomic_path
from nas.space.architecture import Network

LOGIT_TOLERANCE = 1e-4
TIE = 1e-3
CHUNK = 64


def write_onnx(
    path: Path,
    network: Network,
    weights: Weights,
    target: GraphTarget,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write checked model files, each whole or not at all.

    Returns:
        The files: see `files_of`.

    Raises:
        DiskFullError: No space is left.
    """
    models = build_segments(network, weights, target, dict(metadata or {}))
    files = files_of(path, len(models))
    for file, model in zip(files, models, strict=True):
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        with atomic_path(file) as temporary:
            temporary.write_bytes(content)
    return files


def files_of(path: Path, segments: int) -> list[Path]:
    """`model.onnx`, or `model.1.onnx`, `model.2.onnx`, .. of a network with exits."""
    if segments == 1:
        return [path]
    return [path.with_suffix(f".{number}{path.suffix}") for number in range(1, segments + 1)]


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Set metadata of a model file; the graph and its weights stay as they are."""
    model = onnx.load(path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **metadata})
    content = model.SerializeToString(deterministic=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def preprocess(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """uint8 `N x R x R x 3` to the model's float32 `N x 3 x R x R`."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def run_onnx(
    files: Sequence[Path],
    pixels: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    threads: int = 1,
    on_images: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Logits of images run one at a time, as on the board, through all of a model's files.

    Args:
        files: Of the model.
        pixels: uint8 `N x R x R x 3`.
        mean: Per channel, of pixels in 0..1.
        std: Per channel.
        threads: How many images run beside each other, each on one thread: the result does not
            depend on it.
        on_images: Called with the number done.

    Returns:
        Those of every exit and then of the end, `E x N x classes`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    sessions = [onnxruntime.InferenceSession(file, options, providers=providers) for file in files]

    def run(start: int) -> np.ndarray:
        images = preprocess(pixels[start : start + CHUNK], mean, std)
        return np.stack([_every_logits(sessions, image[None]) for image in images], axis=1)

    parts = []
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for part in pool.map(run, range(0, len(pixels), CHUNK)):
            parts.append(part)
            on_images(sum(part.shape[1] for part in parts))
    return np.concatenate(parts, axis=1)


def _every_logits(
    sessions: Sequence[onnxruntime.InferenceSession], image: np.ndarray
) -> np.ndarray:
    """Of one image `1 x 3 x R x R`, `E x classes`."""
    value, found = image, []
    for session in sessions:
        logits, *features = session.run(None, {session.get_inputs()[0].name: value})
        found.append(logits[0])
        value = features[0] if features else value
    return np.stack(found)


@dataclass(frozen=True)
class Parity:
    """How far the file is from torch.

    Attributes:
        images: Compared images.
        disagreements: Places with another top-1, near ties (two best closer than 1e-3) left out.
        largest_difference: Of the logits, relative to the largest logit.
    """

    images: int
    disagreements: int
    largest_difference: float


def compare_logits(torch_logits: np.ndarray, file_logits: np.ndarray) -> Parity:
    """Compare two arrays `E x N x classes`."""
    best = np.sort(torch_logits, axis=-1)
    clear = best[..., -1] - best[..., -2] >= TIE
    different = torch_logits.argmax(axis=-1) != file_logits.argmax(axis=-1)
    scale = max(float(np.abs(torch_logits).max()), 1e-12)
    difference = float(np.abs(torch_logits - file_logits).max()) / scale
    return Parity(torch_logits.shape[1], int((different & clear).sum()), difference)


def check_parity(path: Path, torch_logits: np.ndarray, file_logits: np.ndarray) -> Parity:
    """Compare, and refuse a file that computes something else.

    Raises:
        ExportError: Another top-1 on an image that is not a near tie, or logits too far off.
    """
    parity = compare_logits(torch_logits, file_logits)
    if parity.disagreements or not parity.largest_difference <= LOGIT_TOLERANCE:
        raise ExportError(
            f"{path} does not compute what torch computes",
            got=f"{parity.disagreements} other classes on {parity.images} images, logits off by "
            f"{parity.largest_difference:.2g} of the largest",
            allowed=f"no other class, at most {LOGIT_TOLERANCE:g}",
            do="report this as a bug with the architecture's JSON",
        )
    return parity
