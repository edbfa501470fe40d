"""Train, validation and test of a listing: as they were given, the rest by seed and names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.data.dataset import split_items
from nas.data.source import ALL, TEST, TRAIN, VALIDATION, Classes, Listing
from nas.errors import DataError

SPLITS = (TRAIN, VALIDATION, TEST)
_VALIDATION_SHARE = 0.1  # of train, where there is no validation split
_SHARES = (0.15, 0.15)  # validation and test of images without a split


def divide(listing: Listing, seed: int) -> dict[str, Classes]:
    """Train, validation and test in this order, each with all classes in label order.

    Raises:
        DataError: There are too few images or classes, or splits that do not go together.
    """
    if len(listing.classes) < 2:
        raise DataError(
            "data hold at least two classes",
            got=f"only {listed(listing.classes)}" if listing.classes else "no images at all",
            do="add images of another class",
        )
    splits: dict[str, Classes] = {
        name: {c: classes.get(c, ()) for c in listing.classes}
        for name, classes in listing.splits.items()
    }
    if set(splits) == {ALL}:
        return _three_ways(splits[ALL], seed)
    _check_names(splits)
    if VALIDATION not in splits:
        splits |= _validation_off(splits[TRAIN], seed)
    return {name: splits[name] for name in SPLITS}


def check_every_class(splits: Mapping[str, Classes], why: str) -> None:
    """Every class has an image in every split.

    Raises:
        DataError: One has none; the message begins with `why`.
    """
    lacking = [
        f"{name} has none in {split}"
        for split, classes in splits.items()
        for name, items in classes.items()
        if not items
    ]
    if lacking:
        raise DataError(
            f"{why} every class has an image in train, validation and test; {listed(lacking)}",
            do="add images, or remove the class from all splits",
        )


def _check_names(splits: Mapping[str, Classes]) -> None:
    if not {TRAIN, TEST} <= set(splits) <= set(SPLITS):
        raise DataError(
            "data with splits have train and test",
            got=" and ".join(splits),
            allowed="train and test, validation if you like; or no splits at all",
            do="add the split that is missing, or leave the splits out",
        )


def _three_ways(classes: Classes, seed: int) -> dict[str, Classes]:
    why = "images without a split are divided into train, validation and test"
    _check_enough(classes, 3, why)
    parts = {name: split_items(items, _SHARES, seed) for name, items in classes.items()}
    return {
        split: {name: part[position] for name, part in parts.items()}
        for position, split in enumerate(SPLITS)
    }


def _validation_off(train: Classes, seed: int) -> dict[str, Classes]:
    _check_enough(train, 2, "validation is split off train")
    parts = {name: split_items(items, (_VALIDATION_SHARE,), seed) for name, items in train.items()}
    rest, off = ({name: part[i] for name, part in parts.items()} for i in (0, 1))
    return {TRAIN: rest, VALIDATION: off}


def _check_enough(classes: Classes, least: int, why: str) -> None:
    few = [f"{name} ({len(items)})" for name, items in classes.items() if len(items) < least]
    if few:
        raise DataError(
            f"{why}, which takes at least {least} images per class; too few in {listed(few)}",
            do="add images or remove the class",
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
