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
from analysis.runs.run_curves import answers
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# A number of each pair from its difference of rewards (P,) and its preference (P,), as in calibration.py.
Number = Callable[[Floats, Floats], Floats]


class NeighbourPairs(NamedTuple):
    """Pairs of SFT answers 1 and 2, 3 and 4, ... to each prompt, without those that gold ties."""

    question: Ints  # (P,)
    reward: Floats  # (P,) the proxy of the first less that of the second
    preferred: Floats  # (P,) 1 where gold prefers the first, else 0


def neighbour_pairs(run: Run) -> NeighbourPairs:
    """Return the pairs in the table that a run chooses from."""
    rows = in_order(answers(run, ["prompt_id", "question_id", "gold", "proxy"]))
    prompt, question, gold, proxy = (
        rows[name].to_numpy() for name in ("prompt_id", "question_id", "gold", "proxy")
    )
    first, second = slice(0, len(prompt) // 2 * 2, 2), slice(1, None, 2)
    margin, reward = gold[first] - gold[second], proxy[first] - proxy[second]
    kept = (prompt[first] == prompt[second]) & (margin != 0)
    return NeighbourPairs(
        question=question[first][kept],
        reward=reward[kept].astype(float),
        preferred=(margin[kept] > 0).astype(float),
    )


def pair_means(pairs: NeighbourPairs, number: Number, questions: Ints) -> Floats:
    """(C,): the mean of a number over the pairs of each question; NaN without a pair."""
    place = np.searchsorted(questions, pairs.question)
    counts = np.bincount(place, minlength=len(questions))
    sums = np.bincount(place, number(pairs.reward, pairs.preferred), minlength=len(questions))
    return np.divide(sums, counts, out=np.full(len(questions), np.nan), where=counts > 0)


def drawn_means(arm: Arm, values: Floats) -> Floats:
    """(B, R): the mean over questions of `values` (R, C), as it is and in every draw.

    A question without a number in some replicate is left out.
    """
    known = np.isfinite(values).all(axis=0)
    weights = weights_of(arm.drawn.resamples, arm.questions)[:, known]
    return weights @ values[:, known].T / weights.sum(axis=1, keepdims=True)


def accuracy_difference(arm: Arm, other: Arm, number: Number = agreement) -> Estimate:
    """Return the mean of a number over pairs, by default accuracy, of an arm's proxy minus that of another arm's.

    Paired by seeds and question.
    """
    questions = arm.curves[0].questions
    differences = [
        pair_means(neighbour_pairs(arm.runs[i]), number, questions)
        - pair_means(neighbour_pairs(other.runs[j]), number, questions)
        for i, j in pairs(arm, other)
    ]
    return Estimate.of(drawn_means(arm, np.stack(differences)))
