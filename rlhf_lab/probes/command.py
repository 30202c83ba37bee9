"""The command `rlhf-probe`: what a checkpoint of anyone's does when the user holds a view, or doubts it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.commands.lab import QUIET
from rlhf_lab.commands.terminal import MISUSED, Parser

if TYPE_CHECKING:
    from rlhf_lab.probes.checkpoint import Checkpoint
    from rlhf_lab.probes.report import Found

STOPPED = 130
EXAMPLES = """examples:
  rlhf-probe sycophancy --model FOLDER --data evals-sycophancy
  rlhf-probe sycophancy --model OWNER/NAME --revision COMMIT --data FILE.jsonl --orders both --out numbers.csv
  rlhf-probe are-you-sure --model FOLDER --data TruthfulQA.csv --items 200 --out numbers.json

docs/probes.md says what is measured."""


def main(argv: Sequence[str] | None = None) -> int:
    """Probe a checkpoint; 2 for a mistake, told in one line, 130 when stopped."""
    options = _parser().parse_args(argv)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return _probe(options)
    except BrokenPipeError:  # whoever reads (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("stopped", STOPPED)
    except (ValueError, OSError, FloatingPointError) as error:
        return _fail(str(error), MISUSED)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"rlhf-probe: {''.join(c if c.isprintable() else repr(c)[1:-1] for c in line)}\n")
    return code


def _probe(options: argparse.Namespace) -> int:
    """Data and files are looked at before anything heavy is imported."""
    from rlhf_lab.probes import report

    report.check(options.out)
    of = _sycophancy if options.command == "sycophancy" else _are_you_sure
    found, settings = of(options)
    report.show(found.lines)
    if options.out is not None:
        report.write(options.out, found, settings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rlhf-probe",
        description="What a language model or reward model does when the user holds a view, or doubts it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="sycophancy | are-you-sure")
    sycophancy = commands.add_parser(
        "sycophancy", help="does it prefer the answer that matches the user's view?"
    )
    data = "a file of JSON lines, or a folder of them: question, answer_matching_behavior, answer_not_matching_behavior"
    _common(sycophancy, data)
    sycophancy.add_argument(
        "--matching", choices=("corrects", "incorrects"),
        help="which field matches the user's view, in files that have these two (else by the file's name)",
    )  # fmt: skip
    sycophancy.add_argument(
        "--orders", choices=("random", "both"), default="random",
        help="list the options in a random order, or average over an order and its reverse (random)",
    )  # fmt: skip
    sycophancy.add_argument(
        "--answer", choices=("label", "whole"),
        help="score the label of an option, or label and text (label; whole for a reward model)",
    )  # fmt: skip
    doubt = commands.add_parser("are-you-sure", help="does it give up its answer when it is doubted?")
    _common(doubt, "CSV, JSON or JSON lines: question, best_answer, incorrect_answers (TruthfulQA's)")
    doubt.add_argument(
        "--draw", choices=("text", "options"), default="text",
        help="sample the answer's text, or one of the options by the probability of its label (text)",
    )  # fmt: skip
    doubt.add_argument("--tokens", type=_positive, default=16, help="of a sampled answer, at most (16)")
    return parser


def _common(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument(
        "--model", required=True, metavar="PATH_OR_ID", help="a checkpoint's folder, or its hub id"
    )
    parser.add_argument("--revision", metavar="COMMIT", help="of a hub id (the newest)")
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help=data)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="every item's numbers: .csv, or .json with the summary"
    )
    parser.add_argument(
        "--items", type=_positive, metavar="N", help="only N items of a file, drawn with the seed"
    )
    parser.add_argument("--seed", type=_whole, default=0, help="of orders, draws and samples (0)")
    parser.add_argument(
        "--batch", type=_positive, default=16, help="rows that the model reads at a time (16)"
    )
    parser.add_argument("--device", default="cpu", help="as torch names it (cpu)")


def _whole(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2^32 - 1, found {text!r}")
    return number


def _positive(text: str) -> int:
    if not _whole(text):
        raise argparse.ArgumentTypeError("expected a whole number above 0, found 0")
    return int(text)


def _sycophancy(options: argparse.Namespace) -> tuple[Found, dict[str, object]]:
    from rlhf_lab.probes import biographies, checkpoint, report, sycophancy

    items, notes = biographies.read(options.data, options.matching)
    items = items if options.items is None else biographies.some(items, options.items, options.seed)
    folder = checkpoint.look(options.model, options.revision, options.device)
    started = time.monotonic()
    model = checkpoint.load(folder, options.model, options.device, options.batch)
    whole = options.answer == "whole" or (options.answer is None and model.rewards)
    scored = sycophancy.probe(model, items, options.orders == "both", whole, options.seed)
    if all(one.state == sycophancy.UNSCORABLE for one in scored):
        raise ValueError(f"{options.data}: none of {len(scored)} items can be scored ({scored[0].reason})")
    how = "reward" if model.rewards else "log-probability"
    orders = "options in a random order" if options.orders == "random" else "both orders averaged"
    what = "label and text" if whole else "label"
    about = f"{how} of an option's {what}; {orders}, seed {options.seed}; {_took(started)}"
    return _headed(
        report.of_sycophancy(scored), model, [about, *notes], options, answer="whole" if whole else "label"
    )


def _are_you_sure(options: argparse.Namespace) -> tuple[Found, dict[str, object]]:
    from rlhf_lab.models import pretrained_files
    from rlhf_lab.probes import are_you_sure, checkpoint, questions, report

    asked = questions.read(options.data, options.seed)
    asked = asked if options.items is None else questions.some(asked, options.items, options.seed)
    folder = checkpoint.look(options.model, options.revision, options.device)
    if pretrained_files.is_classifier(pretrained_files.describe(folder, options.model)):
        raise ValueError(
            f"{options.model}: found a reward model, expected a language model: only that can answer"
        )
    started = time.monotonic()
    model = checkpoint.load(folder, options.model, options.device, options.batch)
    found = are_you_sure.probe(model, asked, options.draw == "options", options.tokens, options.seed)
    drawn = "sampled text" if options.draw == "text" else "drawn by the probabilities of the labels"
    about = f"answers: {drawn}, seed {options.seed}; {_took(started)}"
    turns = [f"doubt: {are_you_sure.CHALLENGE}", f"neutral: {are_you_sure.NEUTRAL}"]
    return _headed(report.of_doubt(found), model, [about, *turns], options)


def _headed(
    found: Found, model: Checkpoint, notes: Sequence[str], options: argparse.Namespace, **settled: str
) -> tuple[Found, dict[str, object]]:
    """What was found under what it was asked of, and the settings it was asked with."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    settings = {**given, **settled, "model": model.name, "is": str(model), "notes": list(notes)}
    return found._replace(lines=[str(model), *notes, "", *found.lines]), settings


def _took(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
