"""A thread pool that keeps the order, bounds what is in flight, and reports progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from nas.data.dataset import Progress
from nas.threads import usable_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_CHUNK = 32  # items per task: small images cost less than handing one over


def in_order(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    what: str,
    progress: Progress | None = None,
) -> Iterator[_Result]:
    """`map(function, items)` on threads, for functions that release the interpreter's lock.

    Only a few chunks are computed ahead of the reader. The first error, in the order of the items,
    is raised after the work in flight has ended.
    """
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    done = 0
    with ThreadPoolExecutor(_thread_count()) as pool:
        submit = (pool.submit(_apply, function, chunk) for chunk in chunks)
        waiting: deque[Future[list[_Result]]] = deque(islice(submit, 2 * _thread_count()))
        try:
            while waiting:
                results = waiting.popleft().result()
                waiting.extend(islice(submit, 1))
                yield from results
                done += len(results)
                if progress is not None:
                    progress(what, done, len(items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _apply(function: Callable[[_Item], _Result], chunk: Sequence[_Item]) -> list[_Result]:
    return [function(item) for item in chunk]


def _thread_count() -> int:
    return min(8, usable_cores())
