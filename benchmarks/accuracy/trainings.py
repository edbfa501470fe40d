"""`nas train` in a process of its own, for the benchmarks here.

What is done is not done again; `nas train` itself refuses a folder of another training.
"""

import json
import subprocess
import sys
from pathlib import Path

from nas.files import write_text

PROGRAM = "import sys; from nas.cli.main import main; sys.exit(main())"


def train(place: Path, architecture: dict, space: str, data: Path, *options: object) -> dict:
    """Content of `model.json` in the folder `place`; goes on with a training that was stopped."""
    place.parent.mkdir(parents=True, exist_ok=True)
    arch = place.with_name(f"{place.name}.arch.json")
    write_text(arch, json.dumps(architecture))
    words = [
        sys.executable, "-c", PROGRAM, "train", "--arch", arch, "--space", space,
        "--data", data, "--out", place, "--resume", *options,
    ]  # fmt: skip
    with place.with_name(f"{place.name}.log").open("a") as log:
        subprocess.run(list(map(str, words)), check=True, stdout=log, stderr=log)
    return json.loads((place / "model.json").read_text())
