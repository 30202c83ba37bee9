"""What every command prints with: arguments refused in one line, hints at the nearest name, tables, a console."""

from __future__ import annotations

import argparse
import difflib
import io
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

MISUSED = 2  # exit code
LISTED = 20  # a longer list of names is left out
WIDE = 1000  # columns of a console whose lines are never cut


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; its usage is in --help."""

    def error(self, message: str) -> NoReturn:
        """Print one line and end with exit code 2."""
        wrong = re.match(r"unrecognized arguments: (\S+)", message)
        if wrong:
            others = self._options() - {wrong[1]}
            elsewhere = " here: another command has it" if len(others) < len(self._options()) else ""
            message = f"no option {wrong[1]!r}{elsewhere or hint(wrong[1], others)}"
        sys.stderr.write(f"{self.prog.split()[0]}: {message}\n")
        sys.exit(MISUSED)

    def _options(self) -> set[str]:
        """Return its own options and those of the commands under it."""
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        parsers = [self, *(parser for action in commands for parser in action.choices.values())]
        return {option for parser in parsers for option in parser._option_string_actions}


def any_encoding() -> None:
    """Let output print what its encoding lacks as escapes, such as a Greek letter under LC_ALL=C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def one_line(error: BaseException) -> str:
    """Return an error as one line; a KeyError says what is missing."""
    text = f"no {error.args[0]!r}" if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def hint(name: str, names: Iterable[str]) -> str:
    """Return `: did you mean X?` for the closest of `names`, or `: there are ...` if none is close and they are few."""
    names = sorted({*names})
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f": did you mean {close[0]}?"
    return f": there are {', '.join(names)}" if 0 < len(names) <= LISTED else ""


def table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> list[str]:
    """Return a table as lines, one for each row: the first `words` columns to the left, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=WIDE, highlight=False, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def console() -> Console:
    """Return a console on the terminal, or one that is wide enough for whole lines in a file or pipe."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(width=160, highlight=False)


def with_key(key: str, candidates: Sequence[Any], kind: str, command: str) -> Any:
    """Return the one of `candidates` whose key starts with `key`; ValueError if there is none or are several."""
    matching = [candidate for candidate in candidates if candidate.key.startswith(key)]
    if len(matching) == 1:
        return matching[0]
    problem = f"is the start of several {kind}s" if matching else f"is not a {kind}"
    raise ValueError(f"{key!r} {problem}; {command} lists them")
