"""The command `rlhf-runs`: what has been run, what one run and its answers look like, reward models, and the store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.runs.naming import labeler_words
from rlhf_lab.commands.terminal import (
    MISUSED,
    Parser,
    any_encoding,
    console,
    one_line,
    table_lines,
    with_key,
)

if TYPE_CHECKING:
    from rlhf_lab.store.records import Run

EXAMPLES = """examples:
  rlhf-runs                          list the newest 50 runs; --all lists everything
  rlhf-runs --sweep quickstart       list the runs of one sweep
  rlhf-runs show 3f2a                one run: its curve, answers to five prompts on the way, how it was made
  rlhf-runs reward-models            the reward models of these runs: accuracy, calibration, gap, spread, tails
  rlhf-runs reward-models 7a92       one of them in full, with the ten answers that it overrates most
  rlhf-runs verify                   read everything that was made, and name what is damaged
  rlhf-runs prune                    what no sweep record needs, and its size; prune --yes removes it
"""
WORDS = ("run", "state", "sweep", "method", "rm", "labels")
NUMBERS = ("pairs", "KL coef.", "rm seed", "seed", "gold, SFT", "best", "at KL", "minutes")
PROMPTS = 5  # shown of one run
POINTS = 8  # of a run's curve that are shown
NEWEST = 50  # runs listed where neither a sweep nor all of them are asked for
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError)  # raised by edited records
CURVE_IS_CHEAP = "BestOfN"  # of the rules that choose among SFT answers; the others take seconds each


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0; 1 when the store is damaged, 2 when there is nothing to show."""
    options = _parser().parse_args(argv)
    any_encoding()
    try:
        code = options.answer(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader (head, less) has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich does
    except (ValueError, OSError) as error:
        return _fail(one_line(error))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rlhf-runs",
        description="What has been run with rlhf-lab. Without a command it lists runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser, which_runs=True)
    parser.set_defaults(answer=_list)
    commands = parser.add_subparsers(metavar="list | show | reward-models | verify | prune")

    def command(name: str, answer: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        """Add a subcommand and return its parser."""
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(answer=answer)
        return added

    listed = command("list", _list, "list runs, the newest first")
    show = command("show", _show, "show one run")
    show.add_argument("key", help="the run's key, or its first digits")
    models = command("reward-models", _reward_models, "list the reward models of runs, or show one in full")
    models.add_argument("key", nargs="?", default="", help="the reward model's key, or its first digits")
    verify = command("verify", _verify, "read everything that was made, and name what is damaged")
    prune = command("prune", _prune, "list what no sweep record needs, or remove it")
    prune.add_argument(
        "--newest", action="store_true", help="keep only what each sweep's newest record needs"
    )
    prune.add_argument("--yes", action="store_true", help="remove it")
    for added in (listed, show, models, verify, prune):
        _add_options(added, which_runs=added in (listed, show, models), default=argparse.SUPPRESS)
    return parser


def _add_options(parser: argparse.ArgumentParser, which_runs: bool, default: Any = None) -> None:
    """Add the options that stand before or after a command; the latter have no default, and so replace the former."""
    parser.add_argument(
        "--store", default=default, help="folder of everything made (default: RLHF_LAB_STORE, else ./store)"
    )
    if which_runs:
        parser.add_argument("--sweep", default=default, help="only the newest record of this sweep")
        parser.add_argument(
            "--all", action="store_true", default=default, help=f"also runs older than the newest {NEWEST}"
        )


def _known(options: argparse.Namespace) -> list[Run]:
    """Return the runs of the sweep that was asked for, or of all sweeps; a record that cannot be read is a line."""
    from rlhf_lab.store.records import history, runs

    if options.sweep:
        return runs(options.sweep, options.store)
    unreadable: list[str] = []
    known = history(options.store, unreadable)
    sys.stderr.write("".join(f"rlhf-runs: {line}\n" for line in unreadable))
    if not known:
        raise ValueError("nothing has been run here yet; start with: rlhf-lab experiment=quickstart")
    return known


def _asked(options: argparse.Namespace, known: Sequence[Run]) -> Sequence[Run]:
    return known if options.sweep or options.all else known[:NEWEST]


def _fail(message: str) -> int:
    sys.stderr.write(f"rlhf-runs: {message}\n")
    return MISUSED


# --- the table ----------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    """Print one line for each run, below them why runs failed or cannot be read, and the size of the store."""
    from analysis.commands.upkeep import size_of
    from rlhf_lab.store.records import store_root

    known = _known(options)
    runs = _asked(options, known)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the work is numpy's
        rows = list(pool.map(_row, runs))
    lines = table_lines((*WORDS, *NUMBERS), [row for row, _ in rows], len(WORDS))
    lines += [line for _, line in rows if line]
    if len(runs) < len(known):
        lines.append(f"{len(known) - len(runs)} older runs: rlhf-runs --all, or --sweep NAME")
    sys.stdout.write("".join(f"{line}\n" for line in [*lines, size_of(store_root(options.store))]))
    return 0


def _row(run: Run) -> tuple[list[str], str]:
    """Return the row of a run, and a line that says why it failed or cannot be read ("" for neither)."""
    from rlhf_lab.store import records

    try:
        row, job = records.origin(run), run.job()
    except UNREADABLE as error:
        cells = [run.key[:8], run.status, run.sweep, *[""] * (len(WORDS) + len(NUMBERS) - 3)]
        return cells, f"{run.key[:8]} cannot be read: {one_line(error)}"
    line = (
        f"{run.key[:8]} failed: {job.get('error', '?')} (the rest: {_trace(run)})"
        if run.status == "failed"
        else ""
    )
    try:
        best = _best(run)
    except records.DamagedRuns as error:
        best, line = ("damaged", "", ""), one_line(error)
    except UNREADABLE as error:
        best, line = ("no curve", "", ""), f"{run.key[:8]} has no curve: {one_line(error)}"
    seconds = job.get("seconds")
    cells = [
        run.key[:8],
        run.status,
        run.sweep,
        str(row["method"]),
        str(row["rm"]),
        labeler_words(run),
        str(row["pairs"]),
        "" if row["kl_coef"] != row["kl_coef"] else f"{row['kl_coef']:g}",
        str(row["rm_seed"]),
        str(row["policy_seed"]),
        *best,
        f"{seconds / 60:.1f}" if isinstance(seconds, (int, float)) else "",
    ]
    return cells, line


def _best(run: Run) -> tuple[str, str, str]:
    """Return gold at the start, at its highest, and the KL there; a highest last point is only a bound."""
    from analysis.best_of_n import selection
    from analysis.runs.run_summary import course

    slow = run.method in selection.METHODS and run.method != CURVE_IS_CHEAP
    if run.status != "made" or slow:
        return "", "", ""
    curve = course(run)
    bound = ">=" if curve.peak == len(curve.points) - 1 else ""
    return f"{curve.gold[0]:.3f}", f"{curve.gold[curve.peak]:.3f}", f"{bound}{curve.kl[curve.peak]:.2f}"


def _trace(run: Run) -> Path:
    trace = run.folder / "traceback.txt"
    return trace if trace.is_file() else run.folder / "log.txt"


# --- one run ------------------------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    """Print what became of a run: its curve, then answers, then how it was made, then its configuration."""
    from rlhf_lab.store import records

    run = with_key(options.key, _known(options), "run", "rlhf-runs")
    _print_facts(
        {"run": run.key, "state": run.status, "sweep": run.sweep, "overrides": " ".join(run.overrides)}
    )
    if run.status == "made":
        try:
            _print_curve(run)
            _print_answers(run)
        except records.DamagedRuns:
            raise
        except UNREADABLE as error:
            sys.stdout.write(f"no curve: {one_line(error)}\n")
    else:
        sys.stdout.write(f"{run.status}: {run.job().get('error', 'no answers yet')} ({_trace(run)})\n")
    sys.stdout.write("\n")
    _print_facts(_making(run))
    config = run.folder / "config.yaml"
    if config.is_file():
        sys.stdout.write(f"\n{config.read_text()}")
    return 0


def _print_facts(facts: Mapping[str, str]) -> None:
    sys.stdout.write("".join(f"{name:<12}{value}\n" for name, value in facts.items()))


def _print_curve(run: Run) -> None:
    """Print mean gold and proxy over KL, at evenly spread points and at gold's peak."""
    from analysis.best_of_n import selection
    from analysis.runs.run_summary import course

    curve = course(run)
    last = len(curve.points) - 1
    shown = sorted({round(last * index / (POINTS - 1)) for index in range(POINTS)} | {curve.peak})
    rows = [
        [
            ", ".join(["SFT"] * (index == 0) + ["peak of gold"] * (index == curve.peak)),
            str(curve.points[index]),
            f"{curve.kl[index]:.2f}",
            f"{curve.gold[index]:.3f}",
            f"{curve.proxy[index]:.3f}",
        ]
        for index in shown
    ]
    point = "n" if run.method in selection.METHODS else "step"
    sys.stdout.write(
        "".join(f"{line}\n" for line in table_lines(("", point, "KL, nats", "gold", "proxy"), rows, 1))
    )


def _print_answers(run: Run) -> None:
    from rich.markup import escape

    from analysis.best_of_n import selection
    from analysis.runs.run_summary import answers

    out = console()
    trained = run.method not in selection.METHODS  # chosen answers are SFT's own: only their curve has a KL
    for question, along in answers(run, PROMPTS).items():
        out.print(f"\n[bold]{escape(question)}[/bold]")
        for answer in along:
            scores = f"gold {answer.gold:+.2f}  proxy {answer.proxy:+.2f}"
            if trained:
                scores += f"  KL {answer.kl:.1f}"
            out.print(f"  [dim]{answer.when:<24}{scores}[/dim]")
            out.print(f"    {escape(answer.text) or '[dim](nothing)[/dim]'}")


def _making(run: Run) -> dict[str, str]:
    """Return the command, commit and versions with which a run was made."""
    job = run.job()
    provenance = run.provenance() if run.status == "made" else job
    git = provenance.get("git")
    packages = (f"{name} {version}" for name, version in provenance.get("packages", {}).items() if version)
    commit = f"{git['commit']}{' with uncommitted changes' if git['dirty'] else ''}" if git else "no checkout"
    return {
        "command": job.get("command") or provenance.get("command", "?"),
        "git commit": commit,
        "versions": ", ".join([f"python {provenance.get('python', '?')}", *packages]),
    }


# --- reward models and the store ----------------------------------------------------------------------------


def _reward_models(options: argparse.Namespace) -> int:
    """Print one line for each reward model behind the runs, or the one whose key was given in full."""
    from analysis.commands import reward_models as printed
    from analysis.reward_models.listing import reward_models
    from rlhf_lab.store.records import history

    known = _known(options)
    runs, unreadable = known if options.key else _asked(options, known), list[str]()
    models = reward_models(runs, history(options.store, []), unreadable)
    sys.stderr.write("".join(f"rlhf-runs: {line}\n" for line in unreadable))
    if options.key:
        printed.one(with_key(options.key, models, "reward model", "rlhf-runs reward-models"))
    elif models:
        printed.table(models)
    else:
        return _fail("no run has a reward model yet")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from analysis.commands import upkeep
    from rlhf_lab.store.records import store_root

    return upkeep.verify(store_root(options.store))


def _prune(options: argparse.Namespace) -> int:
    from analysis.commands import upkeep
    from rlhf_lab.store.records import store_root

    return upkeep.prune(store_root(options.store), options.newest, options.yes)


if __name__ == "__main__":
    sys.exit(main())
