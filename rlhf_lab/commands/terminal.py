"""What every command prints with: arguments refused in one line, tables, and a console."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

MISUSED = 2  # exit code


class Parser(argparse.ArgumentParser):
    """Says what is wrong without its usage; --help has that."""

    def error(self, message: str) -> NoReturn:
        """Print one line and end with exit code 2."""
        wrong = re.match(r"unrecognized arguments: (\S+)", message)
        if wrong:
            message = f"no option {wrong[1]!r}; {near(wrong[1], self._options())}"
        sys.stderr.write(f"{self.prog.split()[0]}: {message}\n")
        sys.exit(MISUSED)

    def _options(self) -> set[str]:
        """Its own and those of the commands under it: all that may have been meant."""
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        under = (
            option
            for action in commands
            for one in action.choices.values()
            for option in one._option_string_actions
        )
        return {*self._option_string_actions, *under}


def near(name: str, names: Iterable[str]) -> str:
    """The closest of `names` as a question, or all of them."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


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


def console() -> Console:
    """The terminal, or something wide enough that a file or pipe gets whole lines."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=160, highlight=False)
