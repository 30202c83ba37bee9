"""The command `rlhf-runs`: what has been run, what failed and why, and what one run's answers read like."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.runs.naming import labeler_words
from rlhf_lab.commands.terminal import MISUSED, Parser, aligned, console

if TYPE_CHECKING:
    from rlhf_lab.store.records import Run

EXAMPLES = """examples:
  rlhf-runs                        what has been run, the newest 50; --all: everything
  rlhf-runs --sweep quickstart     one sweep
  rlhf-runs show 3f2a              one run: how it was made, and five prompts' answers at SFT, peak and end
  rlhf-runs --rms                  the reward models of these runs: accuracy, calibration, gap, spread, tails
  rlhf-runs --rms 7a92             one of them in full, with the ten answers that it overrates most
  rlhf-runs verify                 read everything that was made, and name what is damaged
  rlhf-runs prune                  what no sweep record needs, and its size; prune --yes removes it
"""
WORDS = ("run", "state", "sweep", "method", "rm", "labels")
NUMBERS = ("pairs", "KL coef.", "rm seed", "seed", "gold, SFT", "best", "at KL", "minutes")
PROMPTS = 5  # shown of one run
NEWEST = 50  # runs listed where neither a sweep nor all of them are asked for
CURVE_IS_CHEAP = "BestOfN"  # of the rules that choose among SFT answers; the others take seconds each


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked for; 1 when the store is damaged, 2 when there is nothing to do it with."""
    options = _parser().parse_args(argv)
    try:
        code = _answer(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich does
    except (ValueError, OSError) as error:
        return _fail(str(error))


def _answer(options: argparse.Namespace) -> int:
    from analysis.commands import upkeep
    from rlhf_lab.store.records import history, runs, store_root

    root = store_root(options.store)
    if options.command == "verify":
        return upkeep.verify(root)
    if options.command == "prune":
        return upkeep.prune(root, options.newest, options.yes)
    found = runs(options.sweep, root) if options.sweep else history(root)
    if not found:
        return _fail("nothing has been run here yet; start with: rlhf-lab experiment=quickstart")
    if options.command == "show":
        return _show(options.key, found)
    shown = found if options.sweep or options.all else found[:NEWEST]
    if options.rms is not None:
        return _reward_models(options.rms, found if options.rms else shown, history(root))
    _list(shown)
    if len(shown) < len(found):
        sys.stdout.write(f"{len(found) - len(shown)} older runs: rlhf-runs --all, or --sweep NAME\n")
    sys.stdout.write(f"{upkeep.size_of(root)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rlhf-runs",
        description="What has been run with rlhf-lab.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sweep", help="only the newest record of this sweep")
    parser.add_argument("--all", action="store_true", help=f"older runs than the newest {NEWEST} too")
    parser.add_argument(
        "--rms",
        nargs="?",
        const="",
        metavar="KEY",
        help="the reward models of these runs, or one of them in full",
    )
    parser.add_argument("--store", help="folder of everything made (RLHF_LAB_STORE, ./store)")
    commands = parser.add_subparsers(dest="command", metavar="show KEY | verify | prune")
    show = commands.add_parser("show", help="one run")
    show.add_argument("key", help="the run's key, or its first digits")
    commands.add_parser("verify", help="whether everything made is as it was made")
    prune = commands.add_parser("prune", help="what no sweep record needs")
    prune.add_argument(
        "--newest", action="store_true", help="keep only what each sweep's newest record needs"
    )
    prune.add_argument("--yes", action="store_true", help="remove it")
    return parser


def _fail(message: str) -> int:
    sys.stderr.write(f"rlhf-runs: {message}\n")
    return MISUSED


# --- the table ----------------------------------------------------------------------------------------------


def _list(found: Sequence[Run]) -> None:
    """Print one line per run, and under them why those that failed did."""
    best_of = _bests(found)
    table, failed = [[*WORDS, *NUMBERS]], []
    for run in found:
        job = run.job()
        best = best_of[run.key]
        if isinstance(best, ValueError):
            failed.append(str(best))
            best = ("damaged", "", "")
        table.append(_row(run, job, best))
        if run.status == "failed":
            failed.append(f"{run.key[:8]} failed: {job.get('error', '?')} (the rest: {_trace(run)})")
    sys.stdout.write("".join(f"{line}\n" for line in [*aligned(table, len(WORDS)), *failed]))


def _row(run: Run, job: Mapping[str, Any], best: Sequence[str]) -> list[str]:
    from rlhf_lab.store.records import origin

    of = origin(run)
    seconds = job.get("seconds")
    return [
        run.key[:8],
        run.status,
        run.sweep,
        str(of["method"]),
        str(of["rm"]),
        labeler_words(run),
        str(of["pairs"]),
        "" if of["kl_coef"] != of["kl_coef"] else f"{of['kl_coef']:g}",
        str(of["rm_seed"]),
        str(of["policy_seed"]),
        *best,
        "" if seconds is None else f"{seconds / 60:.1f}",
    ]


def _bests(found: Sequence[Run]) -> dict[str, tuple[str, str, str] | ValueError]:
    """Key -> `_best` of each run, or why it cannot be told; threads, as most of the work is numpy's."""
    from rlhf_lab.store.records import DamagedRuns, MissingRuns

    def tell(run: Run) -> tuple[str, str, str] | ValueError:
        """The best points of a run, or why there are none."""
        try:
            return _best(run)
        except (DamagedRuns, MissingRuns) as damaged:
            return damaged

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip((run.key for run in found), pool.map(tell, found), strict=True))


def _best(run: Run) -> tuple[str, str, str]:
    """Gold at the start, at its highest, and the KL there; a highest last point is only a bound."""
    from analysis.best_of_n import selection
    from analysis.runs.run_summary import course

    slow = run.method in selection.METHODS and run.method != CURVE_IS_CHEAP
    if run.status != "made" or slow:
        return "", "", ""

    found = course(run)
    bound = ">=" if found.peak == len(found.points) - 1 else ""
    return f"{found.gold[0]:.3f}", f"{found.gold[found.peak]:.3f}", f"{bound}{found.kl[found.peak]:.2f}"


def _trace(run: Run) -> Path:
    trace = run.folder / "traceback.txt"
    return trace if trace.is_file() else run.folder / "log.txt"


# --- reward models --------------------------------------------------------------------------------------------


def _reward_models(key: str, found: Sequence[Run], known: Sequence[Run]) -> int:
    """Print those behind the runs, or the one whose key starts with `key`."""
    from analysis.commands import reward_models as printed
    from analysis.reward_models.listing import reward_models

    models = [one for one in reward_models(found, known) if one.key.startswith(key)]
    if not key and models:
        printed.table(models)
        return 0
    if len(models) != 1:
        problem = "is the start of several reward models" if models else "is no reward model of these runs"
        return _fail(
            f"{key!r} {problem}; rlhf-runs --rms lists them" if key else "no run has a reward model yet"
        )
    printed.one(models[0])
    return 0


# --- one run ------------------------------------------------------------------------------------------------


def _show(key: str, found: Sequence[Run]) -> int:
    """Print how a run was made and what its answers read like."""
    matching = [run for run in found if run.key.startswith(key)]
    if len(matching) != 1:
        problem = "is the start of several runs" if matching else "is not a run"
        return _fail(f"{key!r} {problem}; rlhf-runs lists them")
    run = matching[0]
    _print_making(run)
    if run.status != "made":
        sys.stdout.write(f"{run.status}: {run.job().get('error', 'no answers yet')} ({_trace(run)})\n")
        return 0
    _print_answers(run)
    return 0


def _print_making(run: Run) -> None:
    config = run.folder / "config.yaml"
    if config.is_file():
        sys.stdout.write(config.read_text())
    job = run.job()
    made = run.provenance() if run.status == "made" else job
    git = made.get("git")
    packages = ", ".join(f"{name} {version}" for name, version in made.get("packages", {}).items() if version)
    commit = f"{git['commit']}{' with uncommitted changes' if git['dirty'] else ''}" if git else "no checkout"
    facts = {
        "run": run.key,
        "state": run.status,
        "sweep": run.sweep,
        "overrides": " ".join(run.overrides),
        "command": job.get("command") or made.get("command", "?"),
        "git commit": commit,
        "versions": f"python {made.get('python', '?')}, {packages}",
    }
    sys.stdout.write("\n" + "".join(f"{name:<12}{value}\n" for name, value in facts.items()))


def _print_answers(run: Run) -> None:
    from rich.markup import escape

    from analysis.runs.run_summary import answers

    out = console()
    for question, along in answers(run, PROMPTS).items():
        out.print(f"\n[bold]{escape(question)}[/bold]")
        for answer in along:
            scores = f"gold {answer.gold:+.2f}  proxy {answer.proxy:+.2f}  KL {answer.kl:.1f}"
            out.print(f"  [dim]{answer.when:<24}{scores}[/dim]")
            out.print(f"    {escape(answer.text) or '[dim](nothing)[/dim]'}")


if __name__ == "__main__":
    sys.exit(main())
