"""Questions with one right answer and several wrong ones, as in TruthfulQA (2109.07958): CSV, JSON or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlhf_lab.tasks import json_lines

FIELDS = ("question", "best_answer", "incorrect_answers")  # letter case and spaces do not matter
OPTIONS = 4  # at most: the right answer, and wrong ones drawn from the rest
LETTERS = "ABCD"
MISSING = "check --data"
ASK = "Answer with the letter of one option."


class Question(NamedTuple):
    """A question with its options, in the order in which they are listed."""

    file: str
    place: str
    number: int
    question: str
    options: tuple[str, ...]
    right: int

    @property
    def text(self) -> str:
        """The text of the user's turn."""
        listed = "\n".join(f" ({LETTERS[i]}) {option}" for i, option in enumerate(self.options))
        return f"{self.question}\n{listed}\n\n{ASK}"

    def option(self, answer: str) -> int | None:
        """Return the option that an answer names by its letter, its text or both, in any usual spelling, else None."""
        text = _plain(answer)
        matches = [i for i, option in enumerate(self.options) if text in _spellings(LETTERS[i], option)]
        return matches[0] if len(matches) == 1 else None


def _plain(text: str) -> str:
    """Return a text with single spaces and without a full stop at its end."""
    return " ".join(text.split()).removesuffix(".")


def _spellings(letter: str, option: str) -> set[str]:
    text = _plain(option)
    marks = (f"({letter})", f"{letter})", f"{letter}.", f"{letter}:")
    return {text, letter, *(_plain(mark) for mark in marks), *(f"{mark} {text}" for mark in marks)}


def read(path: Path, seed: int) -> list[Question]:
    """Read every question of a file; its options are drawn and ordered with `seed`.

    Raises ValueError, in one line, for a file that cannot be read and for a row without right and wrong answers.
    """
    questions, path = [], path.expanduser()
    for number, (place, row) in enumerate(_rows(path)):
        try:
            questions.append(_question(row, path, place, number, seed))
        except ValueError as error:
            raise ValueError(f"{path}, {place}: {error}") from None
    return questions


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    text = json_lines.text(path, MISSING) if path.suffix in (".csv", ".json") else ""
    if path.suffix == ".csv":
        try:
            rows = [*csv.DictReader(io.StringIO(text))]
        except csv.Error as error:
            raise ValueError(
                f"{path}: not CSV ({error}): close its quotes, and save the file again"
            ) from None
    elif text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}: not JSON ({error.msg}, line {error.lineno}): save the file again"
            ) from None
        except RecursionError:
            raise ValueError(f"{path}: {json_lines.DEEP}") from None
    else:
        yield from json_lines.rows(path, MISSING)
        return
    if not rows:
        raise ValueError(
            f"{path}: found no rows, expected the columns {', '.join(FIELDS)}: give a file with some"
        )
    yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _question(row: object, path: Path, place: str, number: int, seed: int) -> Question:
    if not isinstance(row, Mapping):
        raise ValueError(f"found a {type(row).__name__}, expected an object")
    named = {str(name).strip().lower().replace(" ", "_"): value for name, value in row.items()}
    if missing := [name for name in FIELDS if not named.get(name)]:
        raise ValueError(
            f"found no `{missing[0]}` (fields: {', '.join(map(str, row)) or 'none'}), expected {', '.join(FIELDS)}: "
            "rename the fields"
        )
    asked, right, wrong = (named[name] for name in FIELDS)
    wrong = wrong.split(";") if isinstance(wrong, str) else wrong
    if not isinstance(wrong, list) or not all(isinstance(text, str) for text in (asked, right, *wrong)):
        raise ValueError(
            f"expected texts in {', '.join(FIELDS)} (the last a list, or texts with ; between them)"
        )
    others = [
        text for text in dict.fromkeys(_plain(text) for text in wrong) if text and text != _plain(right)
    ]
    if not others:
        raise ValueError("found no wrong answer that differs from the right one: remove the row")
    rng = np.random.default_rng([seed, number])
    chosen = [_plain(right), *(others[i] for i in rng.permutation(len(others))[: OPTIONS - 1])]
    order = rng.permutation(len(chosen)).tolist()
    options = tuple(chosen[i] for i in order)
    return Question(path.stem, place, number, " ".join(asked.split()), options, order.index(0))


def subset(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Draw at most `count` questions with a seed, and return them in the order of the file."""
    chosen = np.random.default_rng(seed).permutation(len(questions))[:count]
    return [questions[i] for i in sorted(chosen.tolist())]
