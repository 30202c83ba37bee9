"""A parser of arguments whose complaints are one line, with the nearest word that there is."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable
from typing import NoReturn

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
