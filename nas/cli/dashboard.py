"""`nas dashboard`: the Optuna dashboard on a run's storage, also while it runs."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import command_parser
from nas.errors import OptionError, RunFolderError

if TYPE_CHECKING:
    from nas.search.run_folder import RunFolder


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "dashboard",
        "show a run in the Optuna dashboard, once its supernet is trained",
        "nas dashboard runs/RUN",
    )
    parser.add_argument(
        "folder",
        metavar="RUN",
        help="run folder, or the database of several: postgresql://USER@HOST/DATABASE",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=port, default=8080, help="(%(default)s)")
    parser.set_defaults(run=run)


def port(text: str) -> int:
    """A port number."""
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"a port from 1 to 65535 is needed, got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.search.run_folder import RunFolder, check_run

    if "://" in options.folder:
        from nas.search.database import make_tables

        storage, page = make_tables(options.folder), ""
    else:
        run_folder = RunFolder(Path(options.folder))
        check_run(run_folder)
        storage, page = _find_storage(run_folder)
    if not _is_loopback(options.host):
        print(
            f"nas: {options.host} is reachable from other machines, and the dashboard has no "
            "password",
            file=sys.stderr,
        )
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with _socket_errors(options.host, options.port), socket.socket(family) as probe:
        # Before anything else is said; ports of connections that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((options.host, options.port))
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{host}:{options.port}/dashboard{page}  (Ctrl-C stops it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # from its first moment on: the line above says so
        _serve(storage, options.host, options.port)
    return 0


def _find_storage(run: RunFolder) -> tuple[Any, str]:
    """Where a run's trials are, and the page of its study: its file, or the database it shares.

    Raises:
        RunFolderError: There are none yet, or the file is damaged.
        OptionError: The database does not answer.
    """
    if run.journal.is_file():
        from nas.search.journal import open_storage
        from nas.search.study import read_trials

        read_trials(run.journal)  # a damaged journal is better found here than on the page
        return open_storage(run.journal), "/studies/0"
    shared = run.read_run().get("storage")
    if shared is None:
        raise RunFolderError(
            f"{run.path} has no trials to show yet",
            allowed="a run folder whose search has begun",
            do="nas search, and nas dashboard once the supernet is trained",
        )
    from nas.search.database import make_tables

    return make_tables(shared["url"]), ""


def _serve(storage: Any, host: str, port: int) -> None:
    from optuna_dashboard import run_server

    failures: list[Exception] = []

    def serve() -> None:
        try:
            run_server(storage, host=host, port=port)
        except Exception as failure:  # raised again below, where the command is
            failures.append(failure)

    # Not here: a server that is told to stop while it answers takes that for the answer's error.
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    while server.is_alive():
        server.join(1)
    if failures:
        with _socket_errors(host, port):
            raise failures[0]


@contextlib.contextmanager
def _socket_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except socket.gaierror as cause:
        raise OptionError(
            "--host is an address of this machine",
            got=host,
            allowed="127.0.0.1, or 0.0.0.0 for all",
        ) from cause
    except OSError as cause:
        raise OptionError(
            f"the dashboard needs a free port: {cause.strerror}",
            got=f"port {port} on {host}",
            allowed="one that nobody listens at",
            do=f"--port {port % 65535 + 1}",
        ) from cause


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
