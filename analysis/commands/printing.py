"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_lab.records import Run


def aligned(table: Sequence[Sequence[str]], words: int) -> Iterator[str]:
    """The rows of a table as lines, its heading ruled off, the first `words` columns to the left and numbers right.

    One line a row however narrow the terminal, for a thousand of them too.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust] * words + [str.rjust] * (len(widths) - words)
    for number, row in enumerate(table):
        cells = (side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        yield f"  {'   '.join(cells)}".rstrip()
        if number == 0:
            yield f" {'─' * (sum(widths) + 3 * len(widths) - 1)}"


def labels(run: Run) -> str:
    """Who labelled the pairs, with its numbers; nothing for gold itself."""
    labeler = run.choices["labeler"]
    numbers = (f"{value:g}" for value in run.config["labeler"].values() if isinstance(value, (int, float)))
    return "" if labeler == "gold_argmax" else " ".join([labeler, *numbers])


def console() -> Console:
    """The terminal, or something wide enough that a file or pipe gets whole lines."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=160, highlight=False)
