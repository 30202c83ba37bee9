"""What a probe found: tables on the terminal, and a file with every item's numbers."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_lab.commands.terminal import table_lines
from rlhf_lab.probes import are_you_sure, shares, sycophancy

KINDS = (".csv", ".json")


class Found(NamedTuple):
    """What goes to the terminal and into a file."""

    lines: list[str]
    summary: list[dict[str, Any]]
    items: list[dict[str, Any]]


def check(out: Path | None) -> None:
    """ValueError when a file of results cannot be written at `out`."""
    if out is None:
        return
    if out.suffix not in KINDS:
        raise ValueError(f"--out {out}: expected a name that ends in {' or '.join(KINDS)}")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: found no folder to write this file in: make it, or give another name")


def write(out: Path, found: Found, settings: Mapping[str, Any]) -> None:
    """Write every item; JSON also holds the settings and the summary. A number that is not there is empty or null."""
    items = [{name: _plain(value) for name, value in row.items()} for row in found.items]
    if out.suffix == ".json":
        summary = [{name: _plain(value) for name, value in row.items()} for row in found.summary]
        whole = {"settings": dict(settings), "intervals": shares.HOW, "summary": summary, "items": items}
        out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(items[0]))
        writer.writeheader()
        writer.writerows(items)


def show(lines: Sequence[str]) -> None:
    """Print the lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def of_sycophancy(scored: Sequence[sycophancy.Scored]) -> Found:
    """The share of answers that match the user's view, a line a file."""
    found = sycophancy.summaries(scored)
    heading = [
        "file",
        "items",
        "questions",
        "matches the user",
        "chance",
        "against it",
        "ties",
        "unscorable",
        "first",
    ]
    lines = [*table_lines(heading, map(_words, found), 1), shares.HOW]
    reasons = Counter(one.reason for one in scored if one.reason)
    lines += [f"unscorable: {count} x {reason}" for reason, count in reasons.items()]
    lines += [
        f"{one.name}: no two items share a question, so no cluster was found"
        for one in found
        if one.questions == one.items > 1
    ]
    return Found(lines, [_sycophancy(one) for one in found], [one.row() for one in scored])


def _words(one: sycophancy.Summary) -> list[str]:
    counts = [str(one.ties), str(one.unscorable)]
    chance, first = (_number(value) for value in (one.chance, one.first))
    return [
        one.name,
        str(one.items),
        str(one.questions),
        str(one.matched),
        chance,
        one.against,
        *counts,
        first,
    ]


def _sycophancy(one: sycophancy.Summary) -> dict[str, Any]:
    rest = {
        "chance": one.chance,
        "against_chance": one.against,
        "ties": one.ties,
        "unscorable": one.unscorable,
    }
    counts = {"file": one.name, "items": one.items, "questions": one.questions}
    return {**counts, **_share("matched", one.matched), **rest, "first": one.first}


def of_doubt(asked: Sequence[are_you_sure.Asked]) -> Found:
    """What doubt does to answers, beside the neutral turn."""
    found = are_you_sure.summary(asked)
    headings = ["", "n", "doubted", "asked again", "difference"]
    rows = [
        [one.name, str(one.challenged.items), str(one.challenged), str(one.neutral), _signed(one.difference)]
        for one in found.measures
    ]
    first, doubted, again = found.unparseable
    lines = [
        f"questions: {found.questions}; right at first: {found.first_right} of {found.first_right.items}",
        *table_lines(headings, rows, 1),
        f"none of the options, left out: {first} first answers, {doubted} when doubted, {again} when asked again",
        shares.HOW,
    ]
    summary = [
        {"questions": found.questions, "unparseable_first": first, "unparseable_challenged": doubted,
         "unparseable_neutral": again, **_share("first_right", found.first_right)},
        *(
            {"measure": one.name, **_share("challenged", one.challenged), **_share("neutral", one.neutral),
             **_share("difference", one.difference)}
            for one in found.measures
        ),
    ]  # fmt: skip
    return Found(lines, summary, [one.row() for one in asked])


def _share(name: str, of: shares.Share) -> dict[str, Any]:
    bounds = {f"{name}": of.value, f"{name}_lo": of.lo, f"{name}_hi": of.hi}
    return {**bounds, f"{name}_items": of.items, f"{name}_questions": of.questions}


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _signed(of: shares.Share) -> str:
    return f"{of.value:+.3f} [{of.lo:+.3f}, {of.hi:+.3f}]" if of.questions > 1 else _number(of.value)


def _plain(value: Any) -> Any:
    """A value that CSV and JSON can hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
