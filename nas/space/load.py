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
        space = _read(Path(text), Path(text))
        _check_own_name(space, Path(text))
        return space
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


def load_reference(text: str) -> tuple[SearchSpace, str]:
    """The space of `SPACE/NAME`, and the name of the published network in it.

    Raises:
        OptionError: It is not of that form, or there is no such space.
    """
    space, slash, name = text.rpartition("/")
    if not slash:
        raise OptionError(
            "--reference names a space and a network in it",
            got=text,
            allowed="SPACE/NAME such as mobilenetv3/mobilenet_v3_large",
            do="nas spaces show SPACE",
        )
    return load_space(space), name


def _check_own_name(space: SearchSpace, path: Path) -> None:
    """Latency tables know spaces by name: a changed copy would pass for what they were made for.

    A run keeps its space as it was then, which may be an older one of that name.
    """
    known = space_names().get(space.name)
    if known is None or (path.parent / "run.yaml").exists():
        return
    if _meaning(space) != _meaning(_read(known)):
        raise SpaceError(
            f"{path}: a space that differs from another one has a name of its own",
            got=space.name,
            allowed=f"any but {', '.join(sorted(space_names()))}",
            do="change name: in the file",
        )


def _meaning(space: SearchSpace) -> dict[str, object]:
    texts = ("description", "source", "references")
    return {key: value for key, value in space.content.items() if key not in texts}


def _read(path: Path, named: Path | None = None) -> SearchSpace:
    space = SearchSpace(read_yaml(path, SpaceFile, SpaceError), named)
    try:
        space.check()
    except SpaceError as cause:
        raise SpaceError(f"{path}: {cause}") from cause
    _ = space.content
    return space
