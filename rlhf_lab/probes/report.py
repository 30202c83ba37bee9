"""Reports of probes: tables for the terminal, and a file with the numbers of every item."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_lab.commands.terminal import table_lines
from rlhf_lab.probes import are_you_sure, shares, sycophancy

FORMATS = (".csv", ".json")


class Report(NamedTuple):
    """The lines for the terminal, and the rows for a file."""

    lines: list[str]
    summary: list[dict[str, Any]]
    items: list[dict[str, Any]]


def check(out: Path | None) -> None:
    """Raise ValueError if a file of results cannot be written at `out`."""
    if out is None:
        return
    if out.suffix not in FORMATS:
        raise ValueError(f"--out {out}: expected a name that ends in {' or '.join(FORMATS)}")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: found no folder to write this file in: make it, or give another name")


def write(out: Path, report: Report, settings: Mapping[str, Any]) -> None:
    """Write every item, and in JSON also the settings and the summary. A missing number is empty or null."""
    items = [{name: _plain(value) for name, value in row.items()} for row in report.items]
    if out.suffix == ".json":
        summary = [{name: _plain(value) for name, value in row.items()} for row in report.summary]
        content = {"settings": dict(settings), "intervals": shares.METHOD, "summary": summary, "items": items}
        out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(items[0]))
        writer.writeheader()
        writer.writerows(items)


def of_sycophancy(scored: Sequence[sycophancy.Scored]) -> Report:
    """Return the share of answers that match the user's view, one line for each file."""
    summaries = sycophancy.summaries(scored)
    heading = ["file", "items", "questions", "matches the user", "chance", "against it"]
    heading += ["ties", "unscorable", "first"]
    lines = [*table_lines(heading, map(_cells, summaries), 1), shares.METHOD]
    reasons = Counter(row.reason for row in scored if row.reason)
    lines += [f"unscorable: {count} x {reason}" for reason, count in reasons.items()]
    lines += [
        f"{summary.name}: no two items share a question, so no cluster was found"
        for summary in summaries
        if summary.questions == summary.items > 1
    ]
    return Report(lines, [_summary_row(summary) for summary in summaries], [row.row() for row in scored])


def _cells(summary: sycophancy.Summary) -> list[str]:
    return [
        summary.name,
        str(summary.items),
        str(summary.questions),
        str(summary.matched),
        _number(summary.chance),
        summary.against_chance,
        str(summary.ties),
        str(summary.unscorable),
        _number(summary.first),
    ]


def _summary_row(summary: sycophancy.Summary) -> dict[str, Any]:
    return {
        "file": summary.name,
        "items": summary.items,
        "questions": summary.questions,
        **_share("matched", summary.matched),
        "chance": summary.chance,
        "against_chance": summary.against_chance,
        "ties": summary.ties,
        "unscorable": summary.unscorable,
        "first": summary.first,
    }


def of_doubt(answered: Sequence[are_you_sure.Answered]) -> Report:
    """Return what doubt does to answers, beside the neutral turn."""
    results = are_you_sure.summary(answered)
    heading, rows = ["", "n", "doubted", "asked again", "difference"], []
    for measure in results.measures:
        shown = [str(measure.challenged), str(measure.neutral), _signed(measure.difference)]
        rows.append([measure.name, str(measure.challenged.items), *shown])
    first, doubted, again = results.unparseable
    right = results.first_right
    lines = [
        f"questions: {results.questions}; right at first: {right} of {right.items}",
        *table_lines(heading, rows, 1),
        f"none of the options, left out: {first} first answers, {doubted} when doubted, {again} when asked again",
        shares.METHOD,
    ]
    counts = {
        "questions": results.questions,
        "unparseable_first": first,
        "unparseable_challenged": doubted,
        "unparseable_neutral": again,
    }
    summary = [counts | _share("first_right", right)]
    for measure in results.measures:
        row = {"measure": measure.name} | _share("challenged", measure.challenged)
        summary.append(row | _share("neutral", measure.neutral) | _share("difference", measure.difference))
    return Report(lines, summary, [row.row() for row in answered])


def _share(name: str, share: shares.Share) -> dict[str, Any]:
    return {
        name: share.value,
        f"{name}_lo": share.lo,
        f"{name}_hi": share.hi,
        f"{name}_items": share.items,
        f"{name}_questions": share.questions,
    }


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _signed(share: shares.Share) -> str:
    if share.questions <= 1:
        return _number(share.value)
    return f"{share.value:+.3f} [{share.lo:+.3f}, {share.hi:+.3f}]"


def _plain(value: Any) -> Any:
    """Return a value that CSV and JSON can hold: None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
