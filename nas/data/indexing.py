"""From a source to an index: splits, what each image is, and broken ones left out."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping

from nas.data.cache import cache_errors
from nas.data.dataset import DatasetIndex, Forms, Progress, SplitIndex, fingerprint, make_split
from nas.data.divide import check_every_class, divide
from nas.data.identity import Identity, identify, memory_file
from nas.data.images import READABLE
from nas.data.source import Classes, Source
from nas.errors import DataError
from nas.files import write_text

MOST_BROKEN = 0.02
"""Share of the images that may be broken. Our choice: a few in any collection are; more of them
mean that a copy or a download went wrong."""
NAMED = 3
"""Broken images that are named before the rest is a number."""


def make_index(source: Source, seed: int, progress: Progress | None) -> DatasetIndex:
    """The index of a source's images.

    Images are divided before broken ones are left out, so that a repaired file moves no other one.

    Raises:
        DataError: The data cannot be used; the message names the file or class.
        OSError: A file cannot be read.
    """
    listing = source.listing()
    given = divide(listing, seed)
    check_every_class(given, "")
    items = sorted(i for split in given.values() for of_class in split.values() for i in of_class)
    identities = identify(source, items, progress)
    broken = {item: found.problem for item, found in identities.items() if found.problem}
    if broken:
        _check_share(broken, len(items), source)
        given = {name: _without(split, broken) for name, split in given.items()}
        check_every_class(given, f"without the broken images ({name_broken(broken)})")
    train, validation, test = (_split(name, split) for name, split in given.items())
    used = [identities[item] for item in items if item not in broken]
    digests = {item: identity.digest for item, identity in identities.items()}
    return DatasetIndex(
        name=source.name,
        classes=listing.classes,
        train=train,
        validation=validation,
        test=test,
        fingerprint=fingerprint(listing.classes, (train, validation, test), digests),
        source_size=round(statistics.median(identity.shorter_side for identity in used)),
        flip=True,
        forms=_forms(used),
        source=source,
        left_out=broken,
        note=listing.note,
    )


def name_broken(broken: Mapping[str, str]) -> str:
    """The first few with their reasons, and how many more there are."""
    named = [f"{item}: {problem}" for item, problem in list(broken.items())[:NAMED]]
    more = f"; and {len(broken) - NAMED:,} more" if len(broken) > NAMED else ""
    return "; ".join(named) + more


def _split(name: str, classes: Classes) -> SplitIndex:
    return make_split(name, ((i, n) for n, items in enumerate(classes.values()) for i in items))


def _without(classes: Classes, broken: Mapping[str, str]) -> Classes:
    return {name: [i for i in items if i not in broken] for name, items in classes.items()}


def _check_share(broken: Mapping[str, str], images: int, source: Source) -> None:
    """Few broken images are left out; many are an error, with all of them listed in a file."""
    most = int(MOST_BROKEN * images)
    if len(broken) <= most:
        return
    do = "remove or replace these files"
    if len(broken) > NAMED:
        place = memory_file(source).with_suffix(".broken.txt")
        with cache_errors():
            write_text(place, "".join(f"{item}\t{why}\n" for item, why in broken.items()))
        do = f"remove or replace the files that are listed in {place}"
    raise DataError(
        f"at most {100 * MOST_BROKEN:g} % of the images are broken and left out; "
        f"{name_broken(broken)}",
        got=f"{len(broken):,} of {images:,} images that cannot be read",
        allowed=f"{most:,} of them; {READABLE}",
        do=do,
    )


def _forms(identities: Iterable[Identity]) -> Forms:
    sides, forms = zip(*((i.shorter_side, i.form) for i in identities), strict=True)
    return Forms(min(sides), max(sides), dict(Counter(forms).most_common()))
