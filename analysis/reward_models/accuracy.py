"""How well a proxy tells which of two SFT answers to a prompt gold prefers: the same pairs for every proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import in_order
from analysis.reward_models.calibration import agreement
from analysis.runs.arms import Arm
from analysis.runs.equal_kl import pairs
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
# Of pairs' differences of rewards and preferences, as the functions of analysis/reward_models/calibration.py.
Number = Callable[[Floats, Floats], Floats]


class Neighbours(NamedTuple):
    """Untied pairs in the table of SFT answers: 1 and 2, 3 and 4, ... to each prompt."""

    question: NDArray[np.int64]  # (P,)
    reward: Floats  # (P,) the proxy of the first less that of the second
    preferred: Floats  # (P,) 1 where gold prefers the first, else 0


def neighbours(run: Run) -> Neighbours:
    """The pairs of a run that chooses from a table; those that gold ties are left out."""
    rows = in_order(run.rows(["prompt_id", "question_id", "gold", "proxy"]))
    prompt, question, gold, proxy = (
        rows[name].to_numpy() for name in ("prompt_id", "question_id", "gold", "proxy")
    )
    first, second = slice(0, len(prompt) // 2 * 2, 2), slice(1, None, 2)
    better, apart = gold[first] - gold[second], proxy[first] - proxy[second]
    kept = (prompt[first] == prompt[second]) & (better != 0)
    return Neighbours(question[first][kept], apart[kept].astype(float), (better[kept] > 0).astype(float))


def means(of: Neighbours, number: Number, questions: NDArray[np.int64]) -> Floats:
    """(C,): the mean of `number` over the pairs of each question; NaN without a pair."""
    place = np.searchsorted(questions, of.question)
    counts = np.bincount(place, minlength=len(questions))
    sums = np.bincount(place, number(of.reward, of.preferred), minlength=len(questions))
    return np.divide(sums, counts, out=np.full(len(questions), np.nan), where=counts > 0)


def by_question(run: Run, questions: NDArray[np.int64]) -> Floats:
    """(C,): the share of untied pairs that the proxy ranks as gold does, ties by half; NaN without a pair."""
    return means(neighbours(run), agreement, questions)


def drawn(arm: Arm, values: Floats) -> Floats:
    """(B, R): the mean over questions of `values` (R, C), as it is and in every draw; a question without a number in
    some replicate is left out.
    """
    known = np.isfinite(values).all(axis=0)
    weights = weights_of(arm.drawn.resamples, arm.questions)[:, known]
    return weights @ values[:, known].T / weights.sum(axis=1, keepdims=True)


def difference(arm: Arm, other: Arm, number: Number = agreement) -> Estimate:
    """A mean over untied pairs, by default accuracy, of an arm's proxy minus that of another's, paired by seeds and
    question.
    """
    questions = arm.curves[0].questions

    def of(run: Run) -> Floats:
        return means(neighbours(run), number, questions)

    apart = [of(arm.runs[i]) - of(other.runs[j]) for i, j in pairs(arm, other)]
    return Estimate.of(drawn(arm, np.stack(apart)))
