"""The command `rlhf-figures`: figures, their numbers and their claims from stored records."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures import Entry, available
from rlhf_lab.commands import terminal
from rlhf_lab.commands.terminal import MISUSED, Parser, any_encoding, hint, one_line, with_key

if TYPE_CHECKING:
    from types import ModuleType

    from rich.console import Console

    from analysis.drawing.result import FigureResult
    from analysis.statistics.claims import Claim
    from rlhf_lab.store.records import Run

EXAMPLES = """examples:
  rlhf-figures                                  every figure whose sweep has been run
  rlhf-figures kwa2024_figB3                    a figure that is computed, without any run
  rlhf-figures quickstart                       one figure
  rlhf-figures quickstart --claims              one figure, with every claim in full
  rlhf-figures gao2022_fig1 --sweep quickstart  a figure of another sweep's runs, or of several: --sweep A,B
  rlhf-figures gao2022_fig1 --runs 3f2a,7b01    a figure of chosen runs, whichever sweeps they belong to
"""
BROKEN = 1  # exit code
ARXIV = re.compile(r"\d{4}\.\d{5}")
PAPER = re.compile(r"[a-z]+\d{4}")  # author and year that the name of a figure of a paper begins with
SHOWN = 6  # missing runs named in a warning
STYLES = {"met": "green", "not met": "red", "undecided": "yellow"}


class Misused(Exception):
    """Options that exclude each other."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0: every figure is made, 1: records are damaged, 2: runs or a name are missing, or
    nothing is claimed.
    """
    options = _parser().parse_args(argv)
    any_encoding()
    figures = available()
    unknown = [name for name in options.names if name not in figures]
    if unknown:
        return _fail(f"no figure is called {unknown[0]!r}{hint(unknown[0], figures)}", MISUSED)
    from analysis.runs.arms import Unsuited
    from rlhf_lab.store.records import MissingRuns, store_root, sweep_names

    if options.runs and (options.sweep or not options.names):
        return _fail("--runs takes the place of --sweep, and needs the name of a figure", MISUSED)
    drawn, skipped, not_run, code = 0, [], [], 0
    try:
        known = sweep_names(store_root(options.store))
    except (ValueError, OSError) as error:
        return _fail(one_line(error), MISUSED)
    for name in options.names or figures:
        try:
            figure = figures[name].load()
            if not (options.names or options.sweep) and figure.SWEEPS and not set(figure.SWEEPS) & set(known):
                not_run.append(name)
                continue
            refused = _draw(name, figure, options)
            drawn += refused is not None
            code = MISUSED if refused and not code else code
        except MissingRuns as missing:
            skipped.append(f"{name}: {missing}")
        except (Misused, Unsuited, OSError) as error:  # OSError: the folder of the figures cannot be written
            code = _fail(f"{name}: {error}", MISUSED)
        except ValueError as error:
            code = _fail(f"{name}: {error}", BROKEN)
    if options.sweep and not (options.names or drawn or skipped or code):
        return _fail(f"no figure reads sweep {options.sweep!r} by default; name one before --sweep", MISUSED)
    if not_run:
        example = "rlhf-lab experiment=quickstart, for instance, runs one"
        skipped.append(f"left out, as their sweeps have not been run ({example}): {', '.join(not_run)}")
    if skipped:
        sys.stderr.write("".join(f"rlhf-figures: {line}\n" for line in skipped))
    return MISUSED if skipped and (options.names or not drawn) else code


def _draw(name: str, figure: ModuleType, options: argparse.Namespace) -> bool | None:
    """Make, write and print one figure. Return whether its claims are refused, or None if the figure is left out."""
    from analysis.drawing.result import write
    from analysis.runs.checks import provenance
    from rlhf_lab.store import records

    if options.runs:
        runs = _with_keys(figure, options)
        commands = "the commands that rlhf-runs show KEY prints"
    else:
        sweeps = _sweeps(figure, options)
        if sweeps is None:
            return None
        by_key = {run.key: run for sweep in sweeps for run in records.runs(sweep, options.store)}
        runs = list(by_key.values())  # what two sweeps share is one run
        commands = "; ".join(
            records.sweep_record(sweep, options.store)["command"] or f"rlhf-lab experiment={sweep}"
            for sweep in sweeps
        )
    missing = [run for run in runs if run.status != "made"]
    try:
        result = figure.make(runs)
    except records.MissingRuns as error:
        what = f"; {_missing(missing)}; make them: {commands}" if missing else f"; its own: {_own(figure)}"
        raise records.MissingRuns(f"{error}{what}") from None
    unlike, sources = provenance(runs)
    paths = write(result, name, Path(options.out), claimed=not unlike)
    if unlike:
        sys.stderr.write(
            f"{name}: drawn, but nothing is claimed: its runs were not made alike: {unlike}; "
            f"make them again with runtime.force=[STAGE]: {commands}\n"
        )
    else:
        _say(name, result, paths, options.claims)
        if sources:
            stages = ", ".join(sources)
            sys.stderr.write(f"{name}: {stages}: one VERSION, but not from one state of the source code\n")
    if missing:
        sys.stderr.write(
            f"{name}: drawn without {len(missing)} of {len(runs)} runs: {_missing(missing)}\n"
            f"make them: {commands}\n"
        )
    return bool(unlike)


def _sweeps(figure: ModuleType, options: argparse.Namespace) -> Sequence[str] | None:
    """Return the sweeps to read, () for a figure that is computed.

    Return None for a figure that is left out: it was not named, and it reads no sweep or not the one of --sweep.
    """
    asked = list(dict.fromkeys(filter(None, (options.sweep or "").split(","))))
    if not options.names and not (figure.SWEEPS and set(asked) <= set(figure.SWEEPS)):
        return None
    if asked and not figure.SWEEPS:
        raise Misused(f"it reads no sweep: draw it without --sweep {options.sweep}")
    return asked or figure.SWEEPS


def _with_keys(figure: ModuleType, options: argparse.Namespace) -> list[Run]:
    """Return the runs that --runs names by the beginnings of their keys, each once; Misused where one is not one."""
    from rlhf_lab.store import records

    if not figure.SWEEPS:
        raise Misused("it reads no runs: draw it without --runs")
    unreadable: list[str] = []
    known = records.history(options.store, unreadable)
    try:
        asked = [
            with_key(key, known, "run", "rlhf-runs --all") for key in filter(None, options.runs.split(","))
        ]
    except ValueError as error:
        raise Misused("; ".join([str(error), *unreadable])) from None
    return list({run.key: run for run in asked}.values())


def _own(figure: ModuleType) -> str:
    """Return the commands that make the runs that a figure is made for."""
    return "; ".join(f"rlhf-lab experiment={sweep}" for sweep in figure.SWEEPS)


def _missing(runs: Sequence[Run]) -> str:
    named = [f"{run.key[:8]} ({' '.join(run.overrides)}) {run.status}" for run in runs[:SHOWN]]
    return ", ".join(named) + (f", and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")


def _say(name: str, result: FigureResult, paths: Sequence[Path], in_full: bool) -> None:
    """Print the claims of a figure, their count, its notes and its files.

    In short there is one table for each method with a row for each reward model, and a line for each claim about all
    runs; `in_full` there are three lines for each claim.
    """
    from analysis.statistics.claims import counted

    claims = result.claims
    console = terminal.console()
    console.print(f"[bold]{name}[/]")
    shown = [claim for claim in claims if counted(claim)]
    if in_full:
        _say_in_full(console, claims)
    else:
        for title in dict.fromkeys(_title(claim)[0] for claim in shown):
            _say_method(console, title, [claim for claim in shown if _title(claim)[0] == title])
    for line in _counts(claims):
        console.print(line, soft_wrap=True)
    for note in result.notes:
        console.print(note, soft_wrap=True)
    console.print(f"{paths[0].parent}: " + " ".join(path.name for path in paths), soft_wrap=True)


def _counts(claims: Sequence[Claim]) -> Iterator[str]:
    """Yield how many claims were tried and came out in which state, the primary ones first, and what intervals are."""
    from analysis.statistics.claims import EQUIVALENCE_LEVEL, FALSE_CLAIMS, FALSE_DISCOVERIES, counted

    shown = [claim for claim in claims if counted(claim)]
    primary = [claim for claim in shown if claim.primary]
    exploratory = [claim for claim in shown if not claim.primary]
    any_false = f"a false one among them in at most {FALSE_CLAIMS:.0%} of studies by Holm"
    rate = f"at most {FALSE_DISCOVERIES:.0%} false discoveries by Benjamini-Hochberg"
    for kind, group, errors in (("primary", primary, any_false), ("exploratory", exploratory, rate)):
        if group:
            states = ", ".join(f"{sum(claim.state == state for claim in group)} {state}" for state in STYLES)
            yield f"{len(group)} {kind}: {states}; {errors}"
    if held := len(claims) - len(shown):
        yield f"{held} more hold by construction and are not counted"
    if shown:
        levels = sorted({claim.level for claim in shown}, reverse=True)
        words = " and ".join(f"{level:.0%}" for level in levels)
        yield f"brackets: {words} intervals" + (
            " (90 % for equivalences)" if levels[1:] == [EQUIVALENCE_LEVEL] else ""
        )
    if any(claim.conditional for claim in shown):
        yield "* conditional on the replicates, which are too few to say how much they vary"


def _say_in_full(console: Console, claims: Sequence[Claim]) -> None:
    """Print every claim, the primary ones first: state and sentence, then number with interval, then the rule."""
    from rich.padding import Padding
    from rich.text import Text

    from analysis.statistics.claims import LEVEL

    for claim in sorted(claims, key=lambda claim: (claim.by_construction, not claim.primary)):
        kind = "by construction" if claim.by_construction else "primary" if claim.primary else "exploratory"
        state = Text(f"{claim.state}{'*' if claim.conditional else ''}", style=STYLES[claim.state])
        console.print(state + Text(f" ({kind})  {claim.claim}"))
        level = "" if claim.level == LEVEL else f" at {claim.level:.0%}"
        bounds = f"[{claim.interval.lo:.3g}, {claim.interval.hi:.3g}]{level}"
        number = f"{claim.measured:.3g} {bounds}" if math.isfinite(claim.measured) else "no number"
        clusters = f"n = {claim.n}, {claim.replicates} replicate{'s' * (claim.replicates != 1)}"
        console.print(
            Padding(Text(f"{number} {claim.unit}; threshold {claim.threshold:.3g}; {clusters}"), (0, 4))
        )
        console.print(Padding(Text(claim.rule, style="dim"), (0, 4, 1, 4), expand=False))


def _title(claim: Claim) -> tuple[str, str]:
    """Return what a claim is about: a method, and a reward model ("" for all runs of the method)."""
    method, _, label = claim.subject.partition(", ")
    return method, label


def _say_method(console: Console, title: str, claims: Sequence[Claim]) -> None:
    from rich.table import Table

    single = [claim for claim in claims if _title(claim)[1]]
    topics = list(dict.fromkeys(claim.topic for claim in single))
    if topics:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in (title, *topics):
            table.add_column(heading, vertical="bottom", overflow="fold")
        for label in dict.fromkeys(_title(claim)[1] for claim in single):
            by_topic = {claim.topic: claim for claim in single if _title(claim)[1] == label}
            table.add_row(label, *(_cell(by_topic[topic]) if topic in by_topic else "" for topic in topics))
        console.print(table)
    for claim in claims:
        if not _title(claim)[1]:
            console.print(f"{claim.claim}: {_cell(claim).replace(chr(10), ' ')}", soft_wrap=True)
    console.print()


def _cell(claim: Claim) -> str:
    style = STYLES[claim.state]
    star = "*" if claim.conditional else ""
    lo, hi = claim.interval
    if not math.isfinite(claim.measured):
        return f"[{style}]{claim.state}[/]\nno number"
    return f"[{style}]{claim.state}[/]\n{claim.measured:.2f} \\[{lo:.2f}, {hi:.2f}]{star}"


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"rlhf-figures: {message}\n")
    return code


def _groups(figures: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Return the names of figures under a heading each: papers with several figures, other papers, other studies."""
    papers = {name: name.partition("_")[0] for name in figures if PAPER.match(name)}
    groups: dict[str, list[str]] = {}
    for name, paper in sorted(papers.items(), key=lambda item: list(papers.values()).count(item[1]) == 1):
        several = list(papers.values()).count(paper) > 1
        number = ARXIV.search(figures[name].summary)
        heading = f"{paper}{f' (arXiv:{number[0]})' if number else ''}" if several else "other papers"
        groups.setdefault(heading, []).append(name)
    return groups | {"this project": [name for name in figures if name not in papers]}


def _parser() -> argparse.ArgumentParser:
    entries = available()
    figures = "\n".join(
        "\n".join([f"{heading}:", *(f"  {name:<18} {entries[name].summary}" for name in names)])
        for heading, names in _groups(entries).items()
    )
    parser = Parser(
        prog="rlhf-figures",
        description="Draw figures from stored records: NAME.png, .pdf, .csv, .fits.csv, .claims.json.",
        epilog=f"{figures}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="figures; by default all whose sweep has been run"
    )
    parser.add_argument(
        "--claims", action="store_true", help="print every claim with its interval, threshold and rule"
    )
    parser.add_argument(
        "--sweep", help="read this sweep's runs instead of the figure's own, or those of several: A,B"
    )
    parser.add_argument("--runs", help="read these runs, by the beginnings of their keys: KEY,KEY,...")
    parser.add_argument("--out", default="figures", help="folder of the files (default: figures)")
    parser.add_argument("--store", help="folder of the records (default: RLHF_LAB_STORE, else ./store)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
