"""Latencies of every architecture of NAS-Bench-Macro, from a table that was measured for its space.

    nas profile --device DEVICE --space nas-bench-macro --quality full
    python benchmarks/search/latencies.py --device DEVICE --out latencies.json

Writes `{code: ms}`, codes as `nas_bench_macro.py` reads them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from nas_bench_macro import code_of_genome

from nas import BatchPredictor, Predictor, load_space, load_table
from nas.space.choices import ChoiceRows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    space = load_space("nas-bench-macro")
    predictor = BatchPredictor(Predictor(load_table(options.device), space, "small", 10))
    rows = ChoiceRows(space, "small")
    every = np.indices(rows.sizes).reshape(len(rows.sizes), -1).T
    found = predictor.predict(rows.pack(rows.canonical(every))).predicted_ms
    codes = [code_of_genome(space, rows.genome(row)) for row in every]
    latencies = {code: round(float(ms), 5) for code, ms in zip(codes, found, strict=True)}
    options.out.write_text(json.dumps(latencies, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
