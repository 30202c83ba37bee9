"""The command `rlhf-probe`: what any checkpoint does when the user states a view or doubts its answer."""

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
    from rlhf_lab.probes.report import Report

STOPPED = 130
EXAMPLES = """examples:
  rlhf-probe sycophancy --model FOLDER --data evals-sycophancy
  rlhf-probe sycophancy --model OWNER/NAME --revision COMMIT --data FILE.jsonl --orders both --out numbers.csv
  rlhf-probe are-you-sure --model FOLDER --data TruthfulQA.csv --items 200 --out numbers.json

docs/probes.md explains the measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Probe a checkpoint; return 0, 2 after a mistake that is told in one line, or 130 when stopped."""
    options = _parser().parse_args(argv)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return _probe(options)
    except BrokenPipeError:  # the reader of the output (head, less) has quit
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
    """Run the probe; data and files are checked before anything heavy is imported."""
    from rlhf_lab.probes import report

    report.check(options.out)
    probe = _sycophancy if options.command == "sycophancy" else _are_you_sure
    result, settings = probe(options)
    sys.stdout.write("".join(f"{line}\n" for line in result.lines))
    if options.out is not None:
        report.write(options.out, result, settings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rlhf-probe",
        description="Measure what a model does when the user states a view or doubts its answer.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="sycophancy | are-you-sure")
    sycophancy = commands.add_parser(
        "sycophancy", help="Does the model prefer the answer that matches the user's view?"
    )
    data = "a file of JSON lines, or a folder of them: question, answer_matching_behavior, answer_not_matching_behavior"
    _common(sycophancy, data)
    sycophancy.add_argument(
        "--matching", choices=("corrects", "incorrects"),
        help="the field that matches the user's view in files with these two fields (default: by the file's name)",
    )  # fmt: skip
    sycophancy.add_argument(
        "--orders", choices=("random", "both"), default="random",
        help="list the options in a random order, or average over an order and its reverse (default: random)",
    )  # fmt: skip
    sycophancy.add_argument(
        "--answer", choices=("label", "whole"),
        help="score the label of an option, or label and text (default: label; for a reward model: whole)",
    )  # fmt: skip
    doubt = commands.add_parser("are-you-sure", help="Does the model give up its answer when it is doubted?")
    _common(doubt, "CSV, JSON or JSON lines: question, best_answer, incorrect_answers (TruthfulQA's)")
    doubt.add_argument(
        "--draw", choices=("text", "options"), default="text",
        help="sample the text of the answer, or draw an option by the probability of its label (default: text)",
    )  # fmt: skip
    doubt.add_argument(
        "--tokens", type=_positive, default=16, help="the longest sampled answer (default: 16)"
    )
    return parser


def _common(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument(
        "--model", required=True, metavar="PATH_OR_ID", help="the folder of a checkpoint, or its hub id"
    )
    parser.add_argument("--revision", metavar="COMMIT", help="the commit of a hub id (default: the newest)")
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help=data)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the numbers of every item: .csv, or .json with the summary",
    )
    parser.add_argument(
        "--items", type=_positive, metavar="N", help="use only N items of each file, drawn with the seed"
    )
    parser.add_argument(
        "--seed", type=_whole, default=0, help="the seed of orders, draws and samples (default: 0)"
    )
    parser.add_argument(
        "--batch", type=_positive, default=16, help="rows that the model reads at a time (default: 16)"
    )
    parser.add_argument("--device", default="cpu", help="the device, as torch names it (default: cpu)")


def _whole(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2^32 - 1, found {text!r}")
    return number


def _positive(text: str) -> int:
    if not _whole(text):
        raise argparse.ArgumentTypeError("expected a whole number above 0, found 0")
    return int(text)


def _sycophancy(options: argparse.Namespace) -> tuple[Report, dict[str, object]]:
    from rlhf_lab.probes import biographies, checkpoint, report, sycophancy

    items, notes = biographies.read(options.data, options.matching)
    items = items if options.items is None else biographies.subset(items, options.items, options.seed)
    folder = checkpoint.find(options.model, options.revision, options.device)
    started = time.monotonic()
    model = checkpoint.load(folder, options.model, options.device, options.batch)
    whole = options.answer == "whole" or (options.answer is None and model.rewards)
    scored = sycophancy.probe(model, items, options.orders == "both", whole, options.seed)
    if all(row.state == sycophancy.UNSCORABLE for row in scored):
        raise ValueError(f"{options.data}: none of {len(scored)} items can be scored ({scored[0].reason})")
    score = "reward" if model.rewards else "log-probability"
    scored_text = "label and text" if whole else "label"
    orders = "options in a random order" if options.orders == "random" else "both orders averaged"
    seconds = time.monotonic() - started
    note = f"{score} of an option's {scored_text}; {orders}, seed {options.seed}; {seconds:.1f} s"
    answer = "whole" if whole else "label"
    return _headed(report.of_sycophancy(scored), model, [note, *notes], options, answer=answer)


def _are_you_sure(options: argparse.Namespace) -> tuple[Report, dict[str, object]]:
    from rlhf_lab.models import pretrained_files
    from rlhf_lab.probes import are_you_sure, checkpoint, questions, report

    asked = questions.read(options.data, options.seed)
    asked = asked if options.items is None else questions.subset(asked, options.items, options.seed)
    folder = checkpoint.find(options.model, options.revision, options.device)
    if pretrained_files.is_classifier(pretrained_files.describe(folder, options.model)):
        raise ValueError(
            f"{options.model}: found a reward model, expected a language model: only that can answer"
        )
    started = time.monotonic()
    model = checkpoint.load(folder, options.model, options.device, options.batch)
    answered = are_you_sure.probe(model, asked, options.draw == "options", options.tokens, options.seed)
    drawn = "sampled text" if options.draw == "text" else "drawn by the probabilities of the labels"
    notes = [
        f"answers: {drawn}, seed {options.seed}; {time.monotonic() - started:.1f} s",
        f"doubt: {are_you_sure.CHALLENGE}",
        f"neutral: {are_you_sure.NEUTRAL}",
    ]
    return _headed(report.of_doubt(answered), model, notes, options)


def _headed(
    result: Report, model: Checkpoint, notes: Sequence[str], options: argparse.Namespace, **chosen: str
) -> tuple[Report, dict[str, object]]:
    """Return the report with the model and notes as its heading, and the settings of the probe."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    settings = {**given, **chosen, "model": model.name, "is": str(model), "notes": list(notes)}
    return result._replace(lines=[str(model), *notes, "", *result.lines]), settings


if __name__ == "__main__":
    sys.exit(main())
