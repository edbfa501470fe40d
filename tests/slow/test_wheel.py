"""The wheel is complete: what a checkout has beside the package is inside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_carries_tables_spaces_configurations_and_styles(tmp_path):
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"nas/report/page.css", "nas/py.typed"}
    for kind in ("latency_tables", "search_spaces", "configs"):
        files = [path for path in (ROOT / kind).rglob("*") if path.is_file()]
        assert files
        wanted |= {f"nas/_shipped/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert wanted <= names
