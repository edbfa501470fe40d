"""A hundred thousand images are read within one GiB of memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES = 100_000
MOST_BYTES = 1 << 30
READ = """
import json, resource, sys
from pathlib import Path
from nas.data import describe, load_dataset, manifest, scan

def peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():  # where ru_maxrss also counts the process that this one was started by
        lines = [line.split() for line in status.read_text().splitlines()]
        return next(int(line[1]) for line in lines if line[0] == "VmHWM:") * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

described = describe(scan(Path(sys.argv[1]), 0))
dataset = load_dataset(Path(sys.argv[1]), 0, resolutions=[24, 32])
epoch = sum(int(split.at(32)[::97].sum()) > 0 for split in dataset.splits())
counted = sum(len(split) for split in dataset.splits())
json.dumps(manifest(dataset))
peak = peak_bytes()
print(json.dumps({"images": counted, "splits": epoch, "peak_bytes": peak, "said": described}))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes; every file is one of two hundred images, JPEG and PNG in turn."""
    root = tmp_path_factory.mktemp("many") / "many"
    rng = np.random.default_rng(0)
    encoded = []
    for number in range(200):
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, ("JPEG", "PNG")[number % 2])
        encoded.append((file.getvalue(), (".jpg", ".png")[number % 2]))
    for name in range(10):
        (root / f"class{name}").mkdir(parents=True)
    for number in range(IMAGES):
        content, suffix = encoded[number % len(encoded)]
        (root / f"class{number % 10}" / f"{number:06d}{suffix}").write_bytes(content)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_within_a_gibibyte(many: Path, tmp_path: Path, kind: str) -> None:
    source = many
    if kind == "table":
        files = many.rglob("*.*g")
        rows = [f"{file.parent.name}/{file.name},{file.parent.name}" for file in files]
        source = many / "labels.csv"
        source.write_text("\n".join(["path,label", *rows]))
    environment = {**os.environ, "NAS_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", READ, str(source)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["images"], told["splits"]) == (IMAGES, 3)
    assert told["said"][0].startswith(f"Data {source.stem}: 100,000 images of 10 classes (")
    print(f"{kind}: {told['peak_bytes'] / 2**20:.0f} MiB at most")
    assert told["peak_bytes"] < MOST_BYTES
