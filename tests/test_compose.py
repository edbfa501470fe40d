"""`compose.yaml` and the `Dockerfile`, as far as they can be checked without a container engine."""

import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from nas.cli.main import build_parser
from nas.search.database import check_url
from tests.search.postgres import Postgres, needs_postgres

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(TEXT)["services"]


def searches():
    """What the comment at the top tells people to type, after the service's entrypoint."""
    lines = re.findall(r"^# +docker compose run --rm search (.*)$", TEXT, re.MULTILINE)
    return [[*SERVICES["search"]["entrypoint"], *shlex.split(line)] for line in lines]


@pytest.mark.parametrize("command", searches())
def test_what_the_comment_says_is_a_search_on_the_database(command):
    options = build_parser().parse_args(command[1:])
    assert options.data == "/data"
    assert check_url(options.storage) == "postgresql+psycopg://nas@database/nas"
    assert SERVICES["dashboard"]["command"][:2] == ["dashboard", options.storage]


def test_two_searches_of_one_study_have_folders_of_their_own():
    folders = [build_parser().parse_args(command[1:]).out for command in searches()]
    assert len(folders) == len(set(folders)) == 2


def test_nothing_is_open_to_other_machines_unless_it_is_asked_for():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(re.match(r"(\$\{NAS_DATABASE_ADDRESS:-)?127\.0\.0\.1\}?:", port) for port in ports)


def test_the_password_comes_from_the_environment():
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or re.fullmatch(r"\$\{PGPASSWORD:\?.*\}", value)


def test_volumes_are_the_images_and_declared():
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    kept = re.search(r"VOLUME \[(.*)\]", image).group(1)
    mounted = dict(reversed(v.rsplit(":", 1)) for v in SERVICES["search"]["volumes"][:3])
    assert set(mounted) == set(re.findall(r'"(.*?)"', kept))
    assert {*mounted.values(), "database"} == set(yaml.safe_load(TEXT)["volumes"])
    assert '".[postgresql]"' in image, "the driver of the database is in the image"


@needs_postgres
def test_the_dashboard_starts_on_a_database_that_has_no_study_yet(tmp_path):
    server = Postgres(tmp_path)
    words = [
        "127.0.0.1" if word == "0.0.0.0" else word for word in SERVICES["dashboard"]["command"]
    ]
    words[1] = server.url
    words[-1] = str(server.port + 1 if server.port < 65000 else server.port - 1)
    command = [str(Path(sys.executable).parent / "nas"), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert status(f"http://127.0.0.1:{words[-1]}/api/studies", process) == 200
    finally:
        process.terminate()
        process.communicate()
        server.stop("immediate")


def status(address, process):
    """Of an answer, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5).status
        except OSError:
            time.sleep(0.2)
    raise AssertionError(process.stderr.read().decode())
