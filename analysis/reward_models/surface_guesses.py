"""Guesses of a labeler's choice by one surface feature: the longer answer, the first one shown, the better first word.

They say how much of a reward model's accuracy needs nothing of what an answer says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.reward_models.calibration import agreement
from rlhf_lab.functional.intervals import Estimate, clustered_mean

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Guess(NamedTuple):
    """One surface feature of held-out pairs."""

    accuracy: Estimate  # of the guess by this feature alone against the labeler, untied pairs
    reward: Estimate  # correlation of the feature's difference with the reward's
    gold: Estimate  # with gold's


def guesses(pairs: pa.Table, heldout: NDArray[np.bool_], untied: NDArray[np.bool_]) -> dict[str, Guess]:
    """Return how the guess by each feature (length, position, first token) does on held-out pairs.

    The direction of a guess, and the values of first tokens, come from the other pairs. `pairs` has P rows with
    rewards; `heldout` and `untied` are (P,).
    """
    label = column(pairs, "label")
    reward = column(pairs, "chosen_reward") - column(pairs, "rejected_reward")
    gold, question = column(pairs, "margin"), pairs["question_id"].to_numpy()
    results = {}
    for name, feature in features(pairs, ~heldout).items():
        x, decided = feature[heldout], heldout & untied
        results[name] = Guess(
            clustered_mean(agreement(feature[decided], label[decided]), question[decided]),
            correlation(x, reward[heldout], question[heldout]),
            correlation(x, gold[heldout], question[heldout]),
        )
    return results


def features(pairs: pa.Table, learned: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return each feature of the chosen side less the rejected side's, (P,); more is better on the `learned` pairs."""
    longer = lengths(pairs["chosen_ids"]) - lengths(pairs["rejected_ids"])
    direction = 1.0 if np.sign(longer[learned]).sum() >= 0 else -1.0
    first = np.where(pairs["first"].to_numpy(), 1.0, -1.0)
    tokens = first_tokens(pairs["chosen_ids"]), first_tokens(pairs["rejected_ids"])
    return {
        "length": direction * longer,
        "position": first,
        "first token": first_token_values(tokens, column(pairs, "label"), learned),
    }


def lengths(answers: pa.ChunkedArray) -> Floats:
    """Return the number of tokens of each answer, (P,)."""
    return np.array([len(ids) for ids in answers.to_pylist()], dtype=float)


def first_tokens(answers: pa.ChunkedArray) -> Ints:
    """Return the first token of each answer, (P,); -1 for an empty one."""
    return np.array([ids[0] if ids else -1 for ids in answers.to_pylist()], dtype=np.int64)


def first_token_values(tokens: tuple[Ints, Ints], label: Floats, learned: NDArray[np.bool_]) -> Floats:
    """Return the value of the chosen side's first token less that of the rejected side's, (P,).

    A token's value is how much more often it won than lost among the `learned` pairs in which it met another token; 0
    where there are none.
    """
    chosen, rejected = tokens
    names, token = np.unique(np.concatenate(tokens), return_inverse=True)
    met = learned & (chosen != rejected)
    sides = np.split(token, 2)
    won = np.concatenate([2 * label[met] - 1, 1 - 2 * label[met]])
    where = np.concatenate([side[met] for side in sides])
    times = np.bincount(where, minlength=len(names))
    value = np.bincount(where, won, len(names)) / np.maximum(times, 1)
    return value[sides[0]] - value[sides[1]]


def correlation(x: Floats, y: Floats, cluster: Ints) -> Estimate:
    """Return the correlation of two differences over pairs, with its question-clustered SE (delta method).

    Each pair counts both ways round, so that means are 0. NaN where one of the two is always 0.
    """
    xx, yy = (x**2).mean(), (y**2).mean()
    if xx == 0 or yy == 0:
        return Estimate.plain(float("nan"), float("nan"))
    product = x * y / np.sqrt(xx * yy)
    influence = product - product.mean() / 2 * (x**2 / xx + y**2 / yy)
    return clustered_mean(influence, cluster)._replace(value=float(product.mean()))


def column(pairs: pa.Table, name: str) -> Floats:
    """Return a column in double precision, (P,)."""
    return pairs[name].to_numpy().astype(float)
