"""How often a policy's answers are preferred to SFT's, by its reward model and by gold (2009.01325, Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers
from analysis.runs.arms import Arm
from analysis.runs.penalties import finals
from analysis.runs.run_curves import answers
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate, cluster_means
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]

PREDICTED, ACTUAL = "predicted", "actual"
NUMBERS = (PREDICTED, ACTUAL)


def win_rates(run: Run) -> dict[str, Floats]:
    """Return `predicted` and `actual` (C, K): each answer against every answer of checkpoint 0 to the same prompt.

    Predicted is the mean of sigmoid(difference of rewards), the Bradley-Terry probability where the proxy is one reward
    model in its own units; actual is gold's choice, ties by half.
    """
    table = Answers.of(answers(run, ["prompt_id", "question_id", "checkpoint", "gold", "proxy"]))
    count, points = table.answers("the evaluation"), len(np.unique(table.checkpoint))
    cluster = table.cluster.reshape(points, -1)[0]

    def margins(name: str) -> Floats:
        """(K, Q, N, N): every answer minus every one of SFT."""
        scores = table.matrix(name, count).reshape(points, -1, count)
        return scores[:, :, :, None] - scores[:1, :, None, :]

    wins = {PREDICTED: 1 / (1 + np.exp(-margins("proxy"))), ACTUAL: (1 + np.sign(margins("gold"))) / 2}
    return {name: cluster_means(share.mean(axis=(2, 3)).T, cluster) for name, share in wins.items()}


def with_win_rates(arm: Arm) -> Arm:
    """Return the arm, its curves with both win rates."""
    curves = tuple(
        replace(curves, values={**curves.values, **win_rates(run)})
        for curves, run in zip(arm.curves, arm.runs, strict=True)
    )
    return replace(arm, curves=curves)


def raw(arm: Arm, name: str) -> Floats:
    """(R, C, K): a number of every replicate, question and point in its own units."""
    return np.stack([curves.values[name] for curves in arm.curves])


def drawn(arm: Arm, name: str) -> Floats:
    """(B, R, K): its mean over questions, as they are and in every draw of them."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return np.einsum("bc,rck->brk", weights / weights.sum(axis=1, keepdims=True), raw(arm, name))


def estimates(arm: Arm, name: str) -> list[Estimate]:
    """Return a number at each point."""
    values = drawn(arm, name)
    return [Estimate.of(values[:, :, point]) for point in range(values.shape[2])]


def ends(family: Sequence[Arm]) -> Arm | None:
    """Return the last checkpoints of a family of penalties as one arm, the largest coefficient first.

    The first arm of the family has no penalty, and becomes the last point; the first point is the initial policy.
    """
    return finals([*family[:0:-1], family[0]])
