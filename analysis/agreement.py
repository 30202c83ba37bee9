"""How often a proxy agrees with gold which of two SFT answers to a prompt is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.answers import in_order
from analysis.arms import Arm
from analysis.equal_kl import pairs
from analysis.resampling import Estimate, weights_of
from rlhf_lab.records import Run

Floats = NDArray[np.float64]


def by_question(run: Run, questions: NDArray[np.int64]) -> Floats:
    """(C,): the share of untied pairs that the proxy ranks as gold does, ties of the proxy by half; NaN without a pair.

    Pairs are neighbours in the table of SFT answers: 1 and 2, 3 and 4, ...
    """
    rows = in_order(run.rows(["prompt_id", "question_id", "gold", "proxy"]))
    prompt, question, gold, proxy = (
        rows[name].to_numpy() for name in ("prompt_id", "question_id", "gold", "proxy")
    )
    first, second = slice(0, len(prompt) // 2 * 2, 2), slice(1, None, 2)
    better, chosen = gold[first] - gold[second], proxy[first] - proxy[second]
    kept = (prompt[first] == prompt[second]) & (better != 0)
    agrees = (1 + np.sign(better * chosen)) / 2
    place = np.searchsorted(questions, question[first][kept])
    counts = np.bincount(place, minlength=len(questions))
    sums = np.bincount(place, agrees[kept], minlength=len(questions))
    return np.divide(sums, counts, out=np.full(len(questions), np.nan), where=counts > 0)


def difference(arm: Arm, other: Arm) -> Estimate:
    """Accuracy of an arm's proxy minus that of another's, paired by seeds and question."""
    questions = arm.curves[0].questions
    apart = np.stack(
        [
            by_question(arm.runs[i], questions) - by_question(other.runs[j], questions)
            for i, j in pairs(arm, other)
        ]
    )  # (R, C)
    known = np.isfinite(apart).all(axis=0)
    weights = weights_of(arm.drawn.resamples, arm.questions)[:, known]
    return Estimate.of(weights @ apart[:, known].T / weights.sum(axis=1, keepdims=True))
