"""Best-of-n arms by how many comparisons their reward models learned from: numbers of every run, and their order.

A number of an arm is (B, R): of each replicate, first as it is and then in every draw of questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.reward_models.accuracy import Number, drawn_means, neighbour_pairs, pair_means
from analysis.reward_models.calibration import agreement, log_loss
from analysis.runs import naming
from analysis.runs.arms import Arm, Study, arm_by, study
from analysis.runs.fitting import fitted_points
from analysis.statistics import fits
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]


def by_comparisons(runs: Sequence[Run]) -> Study:
    """Return the best-of-n arms of reward-model sizes that were trained on two or more numbers of comparisons.

    Runs that ask for a number of epochs of their own belong to Figure 13. Raises MissingRuns where no arm is left.
    """
    arms = study([run for run in runs if run.method == "BestOfN" and not naming.epochs(run)])
    kept = [arm for sizes in by_size(arms).values() if len(sizes) > 1 for arm in sizes]
    if not kept:
        raise MissingRuns("no best-of-n runs of one reward-model size on two numbers of comparisons are made")
    return Study(tuple(kept))


def comparisons(arm: Arm) -> int:
    """Return how many comparisons an arm's reward models learned from."""
    return int(arm.runs[0].config["preferences"]["pairs"])


def by_size(study: Study) -> dict[str, list[Arm]]:
    """Return the arms of each reward-model size, the smallest size and the fewest comparisons first."""
    arm_by(study.arms, lambda arm: (arm.rm, comparisons(arm)))  # nothing else may tell arms apart
    arms: dict[str, list[Arm]] = {}
    for arm in sorted(study.arms, key=lambda arm: (arm.parameters, comparisons(arm))):
        arms.setdefault(arm.rm, []).append(arm)
    return arms


# --- numbers of every run ---------------------------------------------------------------------------------------


def gold_at_end(arm: Arm) -> Floats:
    """Return gold at the largest n, SDs."""
    return np.stack([curves.values["gold"][:, -1] for curves in arm.drawn.replicates], axis=1)


class Judged(NamedTuple):
    """How reward models judge pairs of SFT's answers that gold does not tie: the same pairs for every model."""

    log_loss: Floats  # nats; log 2 at chance
    accuracy: Floats


def judged(arm: Arm) -> Judged:
    """Return how the arm's reward models judge the pairs."""
    pairs, questions = [neighbour_pairs(run) for run in arm.runs], arm.curves[0].questions

    def mean(number: Number) -> Floats:
        """(B, R): the mean of a number over questions, as it is and in every draw."""
        return drawn_means(arm, np.stack([pair_means(of_run, number, questions) for of_run in pairs]))

    return Judged(log_loss=mean(log_loss), accuracy=mean(agreement))


def variance(arm: Arm) -> Floats:
    """Return the log of the proxy's variance within a prompt (2503.15477), in nats of odds squared."""
    return np.log(drawn_means(arm, np.stack([curves.initial.proxy_variance for curves in arm.curves])))


def coefficients(arm: Arm) -> tuple[Floats, Floats]:
    """Return alpha and beta of the bon form, fitted to each replicate; NaN where one has too few points."""
    shape = len(arm.drawn.resamples), len(arm.curves)
    alpha, beta = np.full(shape, np.nan), np.full(shape, np.nan)
    masks = fitted_points(arm, "tie-aware")
    for replicate, (curves, mask) in enumerate(zip(arm.drawn.replicates, masks, strict=True)):
        if mask.sum() >= fits.FEWEST_POINTS:
            fit = fits.fit_each("bon", curves.d[:, mask], curves.values["gold"][:, mask])
            alpha[:, replicate], beta[:, replicate] = fit.alpha, fit.beta
    return alpha, beta


def number_rows(arm: Arm, numbers: Mapping[str, Floats], **columns: Any) -> list[dict[str, Any]]:
    """Return one row of the arm (`curve` is mean, with 95 % intervals) and then one of each run."""
    common = {
        "method": arm.method,
        "rm": arm.rm,
        "label": arm.label,
        "comparisons": comparisons(arm),
        **columns,
        "replicates": len(arm.curves),
        "questions": arm.questions,
    }
    mean: dict[str, Any] = common | {"curve": "mean", "replicate": ""}
    for name, values in numbers.items():
        estimate = Estimate.of(values)
        mean[name] = estimate.value
        mean[f"{name}_lo"], mean[f"{name}_hi"] = estimate.interval()
    replicates = [
        common
        | {"curve": "replicate", "replicate": seeds}
        | {name: values[0, i] for name, values in numbers.items()}
        for i, seeds in enumerate(arm.seeds)
    ]
    return [mean, *replicates]
