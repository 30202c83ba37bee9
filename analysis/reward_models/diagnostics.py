"""Diagnostics of one reward model: on held-out pairs of its comparisons, and on SFT answers that it scored."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers
from analysis.best_of_n.selection import selection_curves
from analysis.reward_models.calibration import Reliability, agreement, log_loss, reliability
from analysis.reward_models.error_tail import Tail, linear_error, tail
from analysis.reward_models.proxy_gold_gap import Gap, gap
from analysis.reward_models.surface_guesses import Guess, column, guesses
from analysis.statistics.resampling import Resample, resamples
from rlhf_lab.functional.intervals import Estimate, cluster_means, clustered_mean

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DRAWS, SEED = 200, 2022  # of the questions, where an interval needs draws
OVERRATED = 10  # answers shown
SUM = re.compile(r"\b\d+(?: (?:plus|minus) \d+)+\b")  # as prompts of the embedded task put it


class Judged(NamedTuple):
    """Rewards of pairs against the preferences of the labeler or of gold, on held-out questions."""

    accuracy: Estimate
    log_loss: Estimate  # nats


@dataclass(frozen=True)
class PairDiagnostics:
    """A reward model on held-out pairs."""

    pairs: int
    questions: int
    training_pairs: int
    judged: dict[tuple[str, str], Judged]  # (labeler or gold, all or untied)
    reliability: dict[str, Reliability]  # labeler: all pairs; gold: untied ones
    blind: dict[str, Guess]  # guesses without reading the answers
    groups: dict[str, dict[str, tuple[int, Judged, Judged]]]  # kind -> group -> untied pairs, labeler, gold


class Spread(NamedTuple):
    """How a score differs among the initial policy's answers to one prompt."""

    variance: Estimate  # mean over questions of the variance within prompts (2503.15477)
    share: float  # of the variance over all answers: free of the score's unit


class Overrated(NamedTuple):
    """An answer with its scores, in SDs over the table."""

    prompt_id: int
    text: str
    proxy: float
    gold: float


@dataclass(frozen=True)
class AnswerDiagnostics:
    """A reward model on a table of SFT answers."""

    prompts: int
    answers: int  # to each
    gap: Gap | str  # or why there is none
    proxy: Spread
    gold: Spread
    tail: Tail
    overrated: list[Overrated]  # largest proxy - gold first, equal answers once


def pair_diagnostics(comparisons: pa.Table) -> PairDiagnostics:
    """Return the diagnostics of `Run.comparisons`, against labels as they were given and the sign of gold's margin."""
    is_heldout = np.array(comparisons["split"].to_pylist()) == "heldout"
    pairs = comparisons.filter(pa.array(is_heldout))
    reward = column(pairs, "chosen_reward") - column(pairs, "rejected_reward")
    margin, question = column(pairs, "margin"), pairs["question_id"].to_numpy()
    preferred = {"labeler": column(pairs, "label"), "gold": 0.5 + 0.5 * np.sign(margin)}
    every, untied = np.ones(len(pairs), dtype=bool), margin != 0

    def judge(who: str, rows: Bools) -> Judged:
        """Return accuracy and log-loss on these pairs against the preferences of one judge."""
        accuracy, loss = (
            clustered_mean(number(reward[rows], preferred[who][rows]), question[rows])
            for number in (agreement, log_loss)
        )
        return Judged(accuracy, loss)

    def grouped(names: Sequence[str]) -> dict[str, tuple[int, Judged, Judged]]:
        """Name -> untied pairs of that name, and the accuracy on them by the labeler and by gold."""
        groups = {}
        for name in sorted(set(names)):
            rows = untied & (np.array(names) == name)
            if rows.any():
                groups[name] = int(rows.sum()), judge("labeler", rows), judge("gold", rows)
        return groups

    return PairDiagnostics(
        pairs=len(pairs),
        questions=len(np.unique(question)),
        training_pairs=len(comparisons) - len(pairs),
        judged={
            (who, which): judge(who, rows)
            for who in preferred
            for which, rows in (("all", every), ("untied", untied))
        },
        reliability={
            "labeler": reliability(reward, preferred["labeler"]),
            "gold": reliability(reward[untied], preferred["gold"][untied]),
        },
        blind=guesses(comparisons, is_heldout, column(comparisons, "margin") != 0),
        groups={
            "family": grouped(pairs["family"].to_pylist()),
            "difficulty": grouped([difficulty(messages) for messages in pairs["messages"].to_pylist()]),
        },
    )


def difficulty(messages: str) -> str:
    """Return how many operations the sum has that the last turn of a prompt (JSON) asks for, in words."""
    asked = SUM.search(json.loads(messages)[-1]["content"])
    if asked is None:
        return "no sum"
    operations = len(asked[0].split()) // 2
    return f"sum of {operations} operation{'s' * (operations > 1)}"


def answer_diagnostics(rows: pa.Table) -> AnswerDiagnostics:
    """Return the diagnostics of SFT answers in order, the same number to each prompt, with gold and `proxy`."""
    table = Answers.of(rows)
    count = table.answers("the table of SFT answers")
    draws = resamples(1, np.random.default_rng(SEED), DRAWS)
    gold, proxy = table.values["gold"], table.values["proxy"]
    return AnswerDiagnostics(
        prompts=len(table.starts),
        answers=count,
        gap=_gap(rows, count, len(np.unique(table.cluster)), draws),
        proxy=spread(table.matrix("proxy", count), table.cluster),
        gold=spread(table.matrix("gold", count), table.cluster),
        tail=tail(linear_error(proxy, gold), np.repeat(table.cluster, count), draws),
        overrated=_overrated(rows, proxy, gold),
    )


def _gap(rows: pa.Table, answers: int, questions: int, draws: Sequence[Resample]) -> Gap | str:
    if answers < 4:
        return f"{answers} answers a prompt, too few for a best-of-n curve"
    if questions < 2:
        return "one question, of which no draws can be made"
    return gap(selection_curves(rows, "BestOfN", {}, tilted=False), draws)


def spread(scores: Floats, cluster: NDArray[np.int64]) -> Spread:
    """Return the spread of scores (Q, N) of answers to prompts of the questions in `cluster` (Q,)."""
    within = scores.var(axis=1, ddof=1) if scores.shape[1] > 1 else np.full(len(scores), np.nan)
    total = scores.var()
    share = float(scores.var(axis=1).mean() / total) if total > 0 else float("nan")
    by_question = cluster_means(within, cluster)
    return Spread(clustered_mean(by_question, np.arange(len(by_question))), share)


def overrated(proxy: Floats, gold: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return both scores (A,) in SDs around their means, and the rows by falling proxy - gold."""
    proxy, gold = (_standard(values) for values in (proxy, gold))
    return proxy, gold, np.argsort(gold - proxy, kind="stable")


def _standard(values: Floats) -> Floats:
    sd = values.std()
    return (values - values.mean()) / sd if sd > 0 else np.zeros_like(values)


def _overrated(rows: pa.Table, proxy: Floats, gold: Floats) -> list[Overrated]:
    proxy, gold, falling = overrated(proxy, gold)
    answers: dict[tuple[int, str], Overrated] = {}
    for row in falling.tolist():
        prompt, text = rows["prompt_id"][row].as_py(), rows["text"][row].as_py()
        answers.setdefault((prompt, text), Overrated(prompt, text, float(proxy[row]), float(gold[row])))
        if len(answers) == OVERRATED:
            break
    return list(answers.values())
