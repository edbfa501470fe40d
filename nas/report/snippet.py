"""The program that runs an exported model on a photo, as text to be copied."""

from __future__ import annotations

_IMPORTS = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
"""
_PHOTO = """\
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if photo.has_transparency_data:
    white = Image.new("RGBA", photo.size, "white")
    photo = Image.alpha_composite(white, photo.convert("RGBA"))
photo = photo.convert("RGB").resize((steps["resolution"],) * 2, Image.Resampling.BILINEAR)
pixels = np.asarray(photo)
image = (pixels / np.float32(255) - np.float32(steps["mean"])) / np.float32(steps["std"])
"""
"""Makes `image`, R x R x 3, as the scored images were made."""
_PROGRAM = """\
{imports}
session = onnxruntime.InferenceSession({path}, providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
steps = json.loads(metadata["nas.preprocessing"])
labels = json.loads(metadata["nas.labels"])

{photo}
(logits,) = session.run(["logits"], {{"image": image.transpose(2, 0, 1)[None]}})[0]
chances = np.exp(logits - logits.max())
best = int(chances.argmax())
print(f"{{labels[best]}}  {{chances[best] / chances.sum():.1%}}")
"""


_SEGMENTS = """\
{imports}
files = [{files}]
cpu = ["CPUExecutionProvider"]
segments = [onnxruntime.InferenceSession(file, providers=cpu) for file in files]
metadata = [segment.get_modelmeta().custom_metadata_map for segment in segments]
thresholds = [json.loads(found["nas.exit"])["threshold"] for found in metadata]  # 0 of the last
steps, labels = (json.loads(metadata[0][name]) for name in ("nas.preprocessing", "nas.labels"))

{photo}
value = image.transpose(2, 0, 1)[None]
for segment, threshold in zip(segments, thresholds):
    logits, *features = segment.run(None, {{segment.get_inputs()[0].name: value}})
    chances = np.exp(logits[0] - logits.max())
    chances /= chances.sum()
    if chances.max() >= threshold:
        break
    value = features[0]
print(f"{{labels[int(chances.argmax())]}}  {{chances.max():.1%}}")
"""
"""The same for the files of a network with exits."""


def usage_snippet(*files: str) -> str:
    """Python source that prints the class of a photo (`sys.argv[1]`) and its probability.

    It needs numpy, Pillow and onnxruntime alone. The photo is prepared exactly as the images that
    the model was scored on: upright, RGB over white, stretched to the model's square by Pillow's
    bilinear resize, normalised; but for those of 16 bits, which have to be scaled to 8 before.
    Size, normalisation and class names come from the file's metadata.

    Args:
        files: Of the exported model, absolute or relative to where the program is started; with
            exits there are several.
    """
    if len(files) == 1:
        return _PROGRAM.format(imports=_IMPORTS, photo=_PHOTO, path=_literal(files[0]))
    listed = ", ".join(map(_literal, files))
    return _SEGMENTS.format(imports=_IMPORTS, photo=_PHOTO, files=listed)


def _literal(text: str) -> str:
    """A Python string literal, in double quotes where that needs no escapes."""
    plain = text.isprintable() and not set(text) & set('"\\')
    return f'"{text}"' if plain else repr(text)
