"""The program that runs an exported model on a photo, as text to be copied."""

from __future__ import annotations

_PROGRAM = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession({path}, providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
steps = json.loads(metadata["nas.preprocessing"])
labels = json.loads(metadata["nas.labels"])

side = steps["resolution"]
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
pixels = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))
image = (pixels / np.float32(255) - np.float32(steps["mean"])) / np.float32(steps["std"])

(logits,) = session.run(["logits"], {{"image": image.transpose(2, 0, 1)[None]}})[0]
chances = np.exp(logits - logits.max())
chances /= chances.sum()
best = int(chances.argmax())
print(f"{{labels[best]}}  {{chances[best]:.1%}}")
"""


def usage_snippet(model_path: str) -> str:
    """Python source that prints the class of a photo (`sys.argv[1]`) and its probability.

    It needs numpy, Pillow and onnxruntime alone. The photo is prepared exactly as the images that
    the model was scored on: upright, RGB, stretched to the model's square by Pillow's bilinear
    resize, normalised. Size, normalisation and class names come from the file's metadata.

    Args:
        model_path: The exported file, absolute or relative to where the program is started.
    """
    return _PROGRAM.format(path=_literal(model_path))


def _literal(text: str) -> str:
    """A Python string literal, in double quotes where that needs no escapes."""
    plain = text.isprintable() and not set(text) & set('"\\')
    return f'"{text}"' if plain else repr(text)
