"""Questions under a biography whose author holds a view (2212.09251, sycophancy), from files of JSON lines.

Two formats are read. In Perez et al.'s own the fields say which answer the user holds. The shortened copies of their
political quiz have `corrects` and `incorrects` instead, and there `corrects` is the liberal option whoever asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlhf_lab.tasks import json_lines

OWN = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
PAIRED = ("prompt", "corrects", "incorrects")
OF_VIEW = {"liberal": "corrects", "conservative": "incorrects"}  # what matches a user of that view
OPTION = re.compile(r"^[ \t]*(\([A-Z]\))[ \t]*(\S.*?)[ \t]*$", re.M)
SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+")  # where one ends
QUESTION = "Question:"  # where a text marks what it asks, the biography ends there
FILES = ("*.jsonl", "*.jsonl.gz")
MISSING = "check --data"


class Item(NamedTuple):
    """One question to the model; a `problem` says why it cannot be scored."""

    file: str
    place: str
    number: int  # within its file
    question: str  # what is asked, and its options; the biography aside
    before: str
    labels: tuple[str, ...]  # as listed, such as (A), (B); none where the text lists no options
    options: tuple[str, ...]
    after: str
    matching: tuple[int, ...]  # the options that match the user's view
    problem: str = ""

    @property
    def chance(self) -> float:
        """The share of its options that match the user's view."""
        return len(self.matching) / len(self.options)

    def text(self, order: Sequence[int]) -> str:
        """What is asked when option `order[p]` stands at place p."""
        if not self.labels:
            return self.before
        lines = (f" {label} {self.options[i]}" for label, i in zip(self.labels, order, strict=True))
        return self.before + "\n".join(lines) + self.after

    def answers(self, order: Sequence[int], whole: bool) -> list[str]:
        """What the model may answer, by option: its label, and what stands behind it if `whole`."""
        if not self.labels:
            return list(self.options)
        labels = {option: self.labels[place] for place, option in enumerate(order)}
        return [f" {labels[i]} {text}" if whole else f" {labels[i]}" for i, text in enumerate(self.options)]


class Read(NamedTuple):
    """What was found, and what was assumed about it."""

    items: list[Item]
    notes: list[str]


def read(path: Path, matching: str | None = None) -> Read:
    """The items of a file or of every file in a folder; ValueError, in one line, for one that cannot be read.

    `matching` names the field (`corrects`, `incorrects`) that matches the user's view where a file does not say.
    """
    items, notes = [], []
    for file in _files(path.expanduser()):
        found: set[str] = set()
        for number, (place, row) in enumerate(json_lines.rows(file, MISSING)):
            try:
                fields = _fields(row, file, matching)
                items.append(_item(row, fields, file, place, number))  # pyright: ignore[reportArgumentType]
            except ValueError as error:
                raise ValueError(f"{file}, {place}: {error}") from None
            found.add(fields[1])
        if found & set(PAIRED):
            notes.append(f"{stem(file)}: the user's view is `{min(found)}`")
    return Read(items, notes)


def stem(file: Path) -> str:
    """The name of a file without what says its format."""
    return file.name.removesuffix(".gz").removesuffix(".jsonl")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for pattern in FILES for file in path.glob(pattern))
    if not found:
        raise ValueError(
            f"{path}: found no {' or '.join(FILES)} in this folder: name a folder or file that has some"
        )
    return found


def _fields(row: object, file: Path, matching: str | None) -> tuple[str, str, str]:
    """The names of the text, of what matches the user's view and of what does not."""
    if not isinstance(row, Mapping):
        raise ValueError(f"found a {type(row).__name__}, expected an object")
    if all(name in row for name in OWN):
        return OWN
    if not all(name in row for name in PAIRED):
        fields = ", ".join(map(str, row)) or "none"
        raise ValueError(
            f"expected the fields {', '.join(OWN)} (or {', '.join(PAIRED)}), found {fields}: rename them"
        )
    chosen = matching or OF_VIEW.get(stem(file).partition(".")[0].rpartition("_")[2])
    if chosen is None:
        raise ValueError(
            "`corrects` and `incorrects` do not say which option the user holds, nor does the file's name end in "
            "_liberal or _conservative: give --matching corrects or --matching incorrects"
        )
    return PAIRED if chosen == PAIRED[1] else (PAIRED[0], PAIRED[2], PAIRED[1])


def _item(
    row: Mapping[str, object], fields: tuple[str, str, str], file: Path, place: str, number: int
) -> Item:
    text, matching, other = row[fields[0]], *(_answers(row[name], name) for name in fields[1:])
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"found no text in `{fields[0]}`, expected what the user says")
    listed = list(OPTION.finditer(text))
    if not listed:
        options = tuple(dict.fromkeys([*matching, *other]))
        asked = f"{_asked(text)} {sorted(options)}"
        item = Item(stem(file), place, number, asked, text, (), options, "", tuple(range(len(set(matching)))))
        return item._replace(problem=_problem([*matching], [*other]))
    labels, options = zip(*(found.groups() for found in listed), strict=True)
    before, after = text[: listed[0].start()], text[listed[-1].end() :]
    places = [[_place(answer, labels, options) for answer in answers] for answers in (matching, other)]
    between = "".join(text[a.end() : b.start()] for a, b in pairwise(listed))
    problem = "text between its options" if between.strip() else ""
    if len(set(labels)) < len(labels) or len(set(options)) < len(options):
        problem = "an option is listed twice"
    asked = f"{_asked(before)} {sorted(options)}"
    held = tuple(sorted({i for i in places[0] if i is not None}))
    item = Item(stem(file), place, number, asked, before, labels, options, after, held)
    return item._replace(problem=problem or _problem(*places))


def _answers(value: object, name: str) -> list[str]:
    """One answer or several, each without the space around it only where it is compared."""
    found = [value] if isinstance(value, str) else value
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(one, str) and one.strip() for one in found)
    ):
        raise ValueError(f"found no answer in `{name}`, expected a text or a list of texts")
    return found


def _place(answer: str, labels: Sequence[str], options: Sequence[str]) -> int | None:
    """Which option an answer is: by its label or its text, exactly; None when it is neither."""
    for names in (labels, options):
        if answer.strip() in names:
            return names.index(answer.strip())
    return None


def _problem(matching: Sequence[object], other: Sequence[object]) -> str:
    if None in (*matching, *other):
        return "an answer is none of its options"
    return "an answer matches and does not" if set(matching) & set(other) else ""


def _asked(text: str) -> str:
    """The question without the biography: what follows `Question:`, or the last sentence."""
    marked = text.rpartition(QUESTION)[2] if QUESTION in text else SENTENCE.split(text.strip())[-1]
    return " ".join(marked.split())


def some(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """At most `count` items of each file, drawn with a seed; in the order of the files."""

    def drawn() -> Iterator[Item]:
        """At most `count` items of every file, in order."""
        for file in dict.fromkeys(item.file for item in items):
            own = [item for item in items if item.file == file]
            chosen = np.random.default_rng(seed).permutation(len(own))[:count]
            yield from (own[i] for i in sorted(chosen.tolist()))

    return list(drawn())
