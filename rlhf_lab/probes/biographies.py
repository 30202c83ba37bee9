"""Questions after a biography whose author holds a view (2212.09251, sycophancy), from files of JSON lines.

Two formats are read. In that of Perez et al. the fields say which answer matches the user's view. The shortened
copies of their political quiz have the fields `corrects` and `incorrects`, and there `corrects` is always the liberal
option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlhf_lab.tasks import json_lines

OWN = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
PAIRED = ("prompt", "corrects", "incorrects")
OF_VIEW = {"liberal": "corrects", "conservative": "incorrects"}  # view -> the field that matches it
OPTION = re.compile(r"^[ \t]*(\([A-Z]\))[ \t]*(\S.*?)[ \t]*$", re.M)
SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+")  # the end of a sentence
QUESTION = "Question:"  # a mark at which the biography ends, in some texts
FILES = ("*.jsonl", "*.jsonl.gz")
MISSING = "check --data"


class Item(NamedTuple):
    """One question to the model; `problem` says why it cannot be scored, if so."""

    file: str
    place: str
    number: int  # within its file
    question: str  # the question and its options, without the biography
    before: str
    labels: tuple[str, ...]  # as listed, such as (A), (B); none if the text lists no options
    options: tuple[str, ...]
    after: str
    matching: tuple[int, ...]  # the options that match the user's view
    problem: str = ""

    @property
    def chance(self) -> float:
        """The share of options that match the user's view."""
        return len(self.matching) / len(self.options)

    def text(self, order: Sequence[int]) -> str:
        """Return the text in which option `order[p]` stands at place p."""
        if not self.labels:
            return self.before
        lines = (f" {label} {self.options[i]}" for label, i in zip(self.labels, order, strict=True))
        return self.before + "\n".join(lines) + self.after

    def answers(self, order: Sequence[int], whole: bool) -> list[str]:
        """Return the possible answers, by option: its label, followed by its text if `whole`."""
        if not self.labels:
            return list(self.options)
        labels = {option: self.labels[place] for place, option in enumerate(order)}
        return [f" {labels[i]} {text}" if whole else f" {labels[i]}" for i, text in enumerate(self.options)]


class Read(NamedTuple):
    """The items that were read, and notes on what was assumed about them."""

    items: list[Item]
    notes: list[str]


def read(path: Path, matching: str | None = None) -> Read:
    """Read the items of a file or of every file in a folder; raise ValueError, in one line, if one cannot be read.

    `matching` names the field (`corrects`, `incorrects`) that matches the user's view if a file does not say so.
    """
    items, notes = [], []
    for file in _files(path.expanduser()):
        matching_fields: set[str] = set()
        for number, (place, row) in enumerate(json_lines.rows(file, MISSING)):
            try:
                fields = _fields(row, file, matching)
                items.append(_item(row, fields, file, place, number))  # pyright: ignore[reportArgumentType]
            except ValueError as error:
                raise ValueError(f"{file}, {place}: {error}") from None
            matching_fields.add(fields[1])
        if matching_fields & set(PAIRED):
            notes.append(f"{stem(file)}: the user's view is `{min(matching_fields)}`")
    return Read(items, notes)


def stem(file: Path) -> str:
    """Return the name of a file without the endings of its format."""
    return file.name.removesuffix(".gz").removesuffix(".jsonl")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for pattern in FILES for file in path.glob(pattern))
    if not files:
        raise ValueError(
            f"{path}: found no {' or '.join(FILES)} in this folder: name a folder or file that has some"
        )
    return files


def _fields(row: object, file: Path, matching: str | None) -> tuple[str, str, str]:
    """Return the names of three fields: the text, the answers that match the user's view, and the others."""
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
    text = row[fields[0]]
    matching, other = _answers(row[fields[1]], fields[1]), _answers(row[fields[2]], fields[2])
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"found no text in `{fields[0]}`, expected what the user says")
    listed = list(OPTION.finditer(text))
    if not listed:
        options = tuple(dict.fromkeys([*matching, *other]))
        asked = f"{_asked(text)} {sorted(options)}"
        item = Item(stem(file), place, number, asked, text, (), options, "", tuple(range(len(set(matching)))))
        return item._replace(problem=_problem([*matching], [*other]))
    labels, options = zip(*(match.groups() for match in listed), strict=True)
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
    """Return the answers in a field, which holds one text or a list of texts, with their spaces."""
    answers = [value] if isinstance(value, str) else value
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"found no answer in `{name}`, expected a text or a list of texts")
    if not all(isinstance(text, str) and text.strip() for text in answers):
        raise ValueError(f"found no answer in `{name}`, expected a text or a list of texts")
    return answers


def _place(answer: str, labels: Sequence[str], options: Sequence[str]) -> int | None:
    """Return the option that has the answer as its label or its text; None if there is none."""
    for names in (labels, options):
        if answer.strip() in names:
            return names.index(answer.strip())
    return None


def _problem(matching: Sequence[object], other: Sequence[object]) -> str:
    if None in (*matching, *other):
        return "an answer is none of its options"
    return "an answer matches and does not" if set(matching) & set(other) else ""


def _asked(text: str) -> str:
    """Return the question without the biography: what follows `Question:`, or the last sentence."""
    marked = text.rpartition(QUESTION)[2] if QUESTION in text else SENTENCE.split(text.strip())[-1]
    return " ".join(marked.split())


def subset(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Draw at most `count` items of each file with a seed, and return them in the order of the files."""
    drawn = []
    for file in dict.fromkeys(item.file for item in items):
        of_file = [item for item in items if item.file == file]
        indices = np.random.default_rng(seed).permutation(len(of_file))[:count]
        drawn += [of_file[index] for index in sorted(indices.tolist())]
    return drawn
