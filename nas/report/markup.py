"""Small pieces of HTML and numbers as people read them. All text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from nas.report.values import Accuracy, Latency


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds words (left) or numbers (right)."""

    heading: str
    words: bool = False


def table(columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table that scrolls by itself where the page is narrow.

    Args:
        columns: Their headings are escaped here.
        rows: A class for each row, and its cells as HTML.
    """
    kinds = [' class="text"' if column.words else "" for column in columns]
    head = "".join(f"<th{k}>{text(c.heading)}</th>" for k, c in zip(kinds, columns, strict=True))
    body = "".join(
        f'<tr class="{kind}">'
        + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, cells, strict=True))
        + "</tr>\n"
        for kind, cells in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
        "</div>"
    )


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms and values, both plain text."""
    items = "".join(f"<dt>{text(term)}</dt><dd>{text(value)}</dd>\n" for term, value in pairs)
    return f"<dl>{items}</dl>"


def text(value: str) -> str:
    """Plain text as HTML."""
    return escape(value, quote=True)


def link(path: str, words: str) -> str:
    """A link to a file beside the page."""
    return f'<a href="{text(quote(path))}">{text(words)}</a>'


def tag(words: str) -> str:
    """A word in a frame, coloured by what it says."""
    return f'<span class="tag {text(words)}">{text(words)}</span>'


def under(words: str) -> str:
    """A second, quieter line of a cell; HTML."""
    return f'<span class="under">{words}</span>'


def unbroken(words: str) -> str:
    """Words that stay on one line: `9 ms`."""
    return words.replace(" ", "\u00a0")


def percent(share: float) -> str:
    """`98.3 %`."""
    return f"{100 * share:.1f} %"


def interval(accuracy: Accuracy) -> str:
    """`96.3 to 99.2 %`."""
    return f"{100 * accuracy.lower:.1f} to {percent(accuracy.upper)}"


def latency(latency_ms: float) -> str:
    """`3.00 ms`: three digits, so that a column of them is even; large ones whole."""
    digits = f"{latency_ms:#.3g}" if 1e-3 <= latency_ms < 999.5 else f"{latency_ms:.6g}"
    return f"{digits.rstrip('.')} ms"


def latency_interval(found: Latency) -> str:
    """`1.9 to 8.8 ms`."""
    return f"{latency(found.lower_ms).removesuffix(' ms')} to {latency(found.upper_ms)}"


def points(difference: float) -> str:
    """A difference of accuracies: `+0.6 points`, with a proper minus sign."""
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    return f"{sign}{abs(100 * difference):.1f} points"
