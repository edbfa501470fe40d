"""Finding and reading search space files."""

from __future__ import annotations

from pathlib import Path

from nas.documents import read_yaml
from nas.errors import OptionError, SpaceError
from nas.files import search_folders
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

KIND = "search_spaces"


def space_names() -> dict[str, Path]:
    """Every space that can be named, and its file; the first place of look-up wins."""
    found: dict[str, Path] = {}
    for folder in search_folders(KIND):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def load_space(name: str | Path) -> SearchSpace:
    """A search space by name, or by the path of its YAML file.

    Raises:
        OptionError: No space has that name.
        SpaceError: The file is not a valid search space.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return _read(Path(text), Path(text))
    known = space_names()
    if text not in known:
        raise OptionError(
            "no search space has this name",
            got=text,
            allowed=", ".join(sorted(known)) or "none found",
            do="nas spaces, or the path of a YAML file",
        )
    space = _read(known[text])
    if space.name != text:
        raise SpaceError(
            f"{known[text]}: the file and the space in it have one name",
            got=space.name,
            allowed=text,
        )
    return space


def _read(path: Path, named: Path | None = None) -> SearchSpace:
    space = SearchSpace(read_yaml(path, SpaceFile, SpaceError), named)
    space.check()
    _ = space.content
    return space
