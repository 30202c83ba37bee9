"""`rlhf-runs reward-models`: every reward model on one line, or one in full."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from analysis.runs.naming import labeler_words
from rlhf_lab.commands.terminal import console, table_lines

if TYPE_CHECKING:
    from analysis.reward_models.calibration import Reliability
    from analysis.reward_models.diagnostics import (
        AnswerDiagnostics,
        Judged,
        Overrated,
        PairDiagnostics,
        Spread,
    )
    from analysis.reward_models.listing import RewardModel
    from analysis.reward_models.proxy_gold_gap import Gap
    from rlhf_lab.functional.intervals import Estimate, Interval

WORDS = ("reward model", "rm", "labels")
NUMBERS = (
    "seed",
    "pairs",
    "runs",
    "right, labeler",
    "right, gold",
    "log-loss",
    "ECE",
    "length r",
    "first r",
    "gap",
    "peak KL",
    "spread",
    "gold's",
    "tail",
)
LEGEND = """\
right: accuracy on held-out pairs, 95 %: labels, all pairs; gold's sign, untied ones. log-loss (nats), ECE: labels
r: correlation of reward with length, and with the value of the first token
gap: gamma of best-of-n (2505.12763). peak KL: of gold's fit to best-of-n, nats
spread: share of the reward's variance on SFT answers that lies within prompts, and gold's. tail: index of the error's
-: rlhf-runs reward-models KEY says why
"""
NO_TABLE = "no run chooses from SFT answers that it scored by itself: run policy=bon against it"


def table(models: Sequence[RewardModel]) -> None:
    """Print one line for each reward model, and below them what could not be read."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(_row_or_problem, models))
    rows = [result for result in results if not isinstance(result, str)]
    problems = [result for result in results if isinstance(result, str)]
    lines = [*table_lines((*WORDS, *NUMBERS), rows, len(WORDS)), *problems]
    sys.stdout.write("".join(f"{line}\n" for line in lines) + LEGEND)


def _row_or_problem(model: RewardModel) -> list[str] | str:
    from analysis.reward_models.diagnostics import answer_diagnostics, pair_diagnostics

    try:
        rows = model.answers()
        return _row(
            model, pair_diagnostics(model.comparisons()), None if rows is None else answer_diagnostics(rows)
        )
    except ValueError as damaged:
        return str(damaged)


def _row(model: RewardModel, pairs: PairDiagnostics, answers: AnswerDiagnostics | None) -> list[str]:
    labeler = pairs.judged["labeler", "all"]
    return [
        model.key[:8],
        model.run.choices["rm"],
        labeler_words(model.run),
        str(model.training.get("seed", "average")),
        str(pairs.training_pairs),
        str(model.runs),
        _around(labeler.accuracy),
        _around(pairs.judged["gold", "untied"].accuracy),
        f"{labeler.log_loss.value:.3f}",
        f"{pairs.reliability['labeler'].ece:.3f}",
        _number(pairs.blind["length"].reward.value, "+.2f"),
        _number(pairs.blind["first token"].reward.value, "+.2f"),
        *_of_answers(answers),
    ]


def _of_answers(answers: AnswerDiagnostics | None) -> list[str]:
    if answers is None:
        return ["-"] * 5
    gap = answers.gap
    of_gap = ["-", "-"] if isinstance(gap, str) else [f"{gap.gamma:.2f}", f"{gap.peak_kl:.2f}"]
    spreads = [_number(spread.share, ".2f") for spread in (answers.proxy, answers.gold)]
    return [*of_gap, *spreads, _number(answers.tail.index, ".1f")]


def _around(estimate: Estimate) -> str:
    half = estimate.value - estimate.interval().lo
    return f"{_number(estimate.value, '.3f')} ± {_number(half, '.3f')}"


def _within(estimate: Estimate, form: str = ".3f") -> str:
    return f"{_number(estimate.value, form)} {_bounds(estimate.interval(), form)}"


def _bounds(interval: Interval, form: str) -> str:
    return f"[{_number(interval.lo, form)}, {_number(interval.hi, form)}]"


def _number(value: float, form: str) -> str:
    """Return a number as text, and a missing one as a dash."""
    return "-" if value != value else format(value, form)


# --- one in full ----------------------------------------------------------------------------------------------


def one(model: RewardModel) -> None:
    """Print all that is known of a reward model."""
    from analysis.reward_models.diagnostics import answer_diagnostics, pair_diagnostics
    from analysis.runs.run_summary import questions

    pairs = pair_diagnostics(model.comparisons())
    _print_making(model, pairs)
    _print_pairs(pairs)
    rows = model.answers()
    if rows is None:
        sys.stdout.write(f"\nSFT answers: {NO_TABLE}\n")
        return
    answers = answer_diagnostics(rows)
    _print_spread(answers)
    _print_overrated(answers.overrated, questions(model.table or model.run))


def _print_making(model: RewardModel, pairs: PairDiagnostics) -> None:
    settings = " ".join(f"{name}={value}" for name, value in model.training.items() if name != "class")
    facts = {
        "reward model": model.key,
        "size": model.run.choices["rm"],
        "training": settings,
        "labels": labeler_words(model.run) or "gold",
        "pairs": f"{pairs.training_pairs}; judged on {pairs.pairs} pairs of {pairs.questions} held-out questions",
        "proxy of": f"{model.runs} runs, the newest {model.run.key[:8]} of {model.run.sweep}",
    }
    sys.stdout.write("".join(f"{name:<14}{value}\n" for name, value in facts.items()))


def _print_pairs(pairs: PairDiagnostics) -> None:
    judged = [[who, which, *_judged(judged)] for (who, which), judged in pairs.judged.items()]
    _print("Against", ["", "pairs", "accuracy", "log-loss, nats"], judged, 2)
    for who, curve in pairs.reliability.items():
        _print(_calibration(who, curve), ["confidence", "accuracy", "pairs"], _bins(curve), 0)
    blind = [
        [name, _within(baseline.accuracy), _within(baseline.reward, "+.2f"), _within(baseline.gold, "+.2f")]
        for name, baseline in pairs.blind.items()
    ]
    heading = ["", "right alone, untied", "r with reward", "r with gold"]
    _print("What is blind to what is said", heading, blind, 1)
    for kind, groups in pairs.groups.items():
        rows = [
            [name, str(count), _within(labeler.accuracy), _within(gold.accuracy)]
            for name, (count, labeler, gold) in groups.items()
        ]
        _print(f"Accuracy by {kind}, untied pairs", ["", "pairs", "labeler", "gold"], rows, 1)


def _judged(judged: Judged) -> list[str]:
    return [_within(judged.accuracy), _within(judged.log_loss)]


def _calibration(who: str, curve: Reliability) -> str:
    which = {"labeler": "all pairs", "gold": "untied pairs"}[who]
    chance = f"{curve.ece_of_calibrated:.3f} would be chance"
    return f"Calibration against {who}, {which}: ECE {curve.ece:.3f} ({chance})"


def _bins(curve: Reliability) -> list[list[str]]:
    return [
        [f"{sure:.3f}", f"{right:.3f}", str(count)]
        for count, sure, right in zip(curve.count, curve.confidence, curve.accuracy, strict=True)
    ]


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> None:
    lines = table_lines(headings, rows, words)
    sys.stdout.write(f"\n{title}\n" + "".join(f"{line}\n" for line in lines))


def _print_spread(answers: AnswerDiagnostics) -> None:
    tail = answers.tail
    lines = [
        f"SFT answers: {answers.answers} to each of {answers.prompts} prompts",
        *_gap(answers.gap),
        f"variance within prompts: reward {_spread(answers.proxy)}; gold {_spread(answers.gold)}",
        f"tail of the error (reward - linear fit to gold): index {_number(tail.index, '.1f')} "
        f"{_bounds(tail.interval, '.1f')}, by the {tail.k} largest",
    ]
    sys.stdout.write("\n" + "\n  ".join(lines) + "\n")


def _gap(gap: Gap | str) -> list[str]:
    if isinstance(gap, str):
        return [f"gap gamma: none, {gap}"]
    return [
        f"gap gamma of best-of-n: {gap.gamma:.3f} {_bounds(gap.gamma_interval, '.3f')}, up to KL {gap.reach:.2f}",
        f"peak of gold's fit: KL {gap.peak_kl:.2f} {_bounds(gap.peak_interval, '.2f')} nats",
    ]


def _spread(spread: Spread) -> str:
    return f"{_within(spread.variance, '.3g')} ({_number(spread.share, '.0%')} of all)"


def _print_overrated(answers: Sequence[Overrated], prompts: Mapping[int, str]) -> None:
    from rich.markup import escape

    out = console()
    out.print("\nWhat is overrated most, in SDs over all answers")
    for answer in answers:
        scores = f"reward {answer.proxy:+.1f}  gold {answer.gold:+.1f}"
        out.print(f"  [bold]{escape(prompts[answer.prompt_id])}[/bold]  [dim]{scores}[/dim]")
        out.print(f"    {escape(answer.text) or '[dim](nothing)[/dim]'}")
