"""Best-of-n arms by how many comparisons their reward models learned from: numbers of every run, and their order.

A number of an arm is (B, R): of each replicate, first as it is and then in every draw of questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.reward_models.accuracy import drawn, means, neighbours
from analysis.reward_models.calibration import agreement, log_loss
from analysis.runs import naming
from analysis.runs.arms import Arm, Study, study
from analysis.runs.fitting import fitted_points
from analysis.statistics import fits
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]


def by_comparisons(runs: Sequence[Run]) -> Study:
    """The best-of-n arms of two or more numbers of comparisons under one reward-model size; MissingRuns without any.

    Runs that ask for a number of epochs of their own belong to Figure 13.
    """
    chosen = [run for run in runs if run.method == "BestOfN" and not naming.epochs(run)]
    read = study(chosen)
    kept = [arm for of in by_size(read).values() if len(of) > 1 for arm in of]
    if not kept:
        raise MissingRuns("no best-of-n runs of one reward-model size on two numbers of comparisons are made")
    return Study(tuple(kept))


def comparisons(arm: Arm) -> int:
    """How many comparisons its reward models learned from."""
    return int(arm.runs[0].config["preferences"]["pairs"])


def by_size(read: Study) -> dict[str, list[Arm]]:
    """Reward-model size, the smallest first -> its arms, the fewest comparisons first."""
    found: dict[str, list[Arm]] = {}
    for arm in sorted(read.arms, key=lambda arm: (arm.parameters, comparisons(arm))):
        found.setdefault(arm.rm, []).append(arm)
    return found


# --- numbers of every run -----------------------------------------------------------------------------------


def gold_at_end(arm: Arm) -> Floats:
    """Gold at the largest n, SDs."""
    return np.stack([one.values["gold"][:, -1] for one in arm.drawn.replicates], axis=1)


def peak_gold(arm: Arm) -> Floats:
    """The highest gold over n, SDs; 0 or more, as n = 1 counts."""
    return np.stack([one.values["gold"].max(axis=1) for one in arm.drawn.replicates], axis=1)


class Judged(NamedTuple):
    """Of SFT's answers to held-out prompts, untied pairs as gold ranks them: the same pairs for every reward model."""

    log_loss: Floats  # nats; log 2 at chance
    accuracy: Floats


def judged(arm: Arm) -> Judged:
    """What its reward models make of the pairs."""
    pairs, questions = [neighbours(run) for run in arm.runs], arm.curves[0].questions
    return Judged(
        *(
            drawn(arm, np.stack([means(of, number, questions) for of in pairs]))
            for number in (log_loss, agreement)
        )
    )


def variance(arm: Arm) -> Floats:
    """Log of the proxy's variance within a prompt (2503.15477), in nats of odds squared."""
    return np.log(drawn(arm, np.stack([curves.initial.proxy_variance for curves in arm.curves])))


def coefficients(arm: Arm) -> tuple[Floats, Floats]:
    """Alpha and beta of the bon form, fitted to each replicate; NaN where a replicate has too few points."""
    found = np.full((2, len(arm.drawn.resamples), len(arm.curves)), np.nan)
    for replicate, (one, keep) in enumerate(
        zip(arm.drawn.replicates, fitted_points(arm, "tie-aware"), strict=True)
    ):
        if keep.sum() >= fits.FEWEST_POINTS:
            found[:, :, replicate] = fits.fit_each("bon", one.d[:, keep], one.values["gold"][:, keep])[:2]
    return found[0], found[1]


def number_rows(arm: Arm, numbers: Mapping[str, Floats], **more: Any) -> list[dict[str, Any]]:
    """One row of the arm (`curve` is mean, with 95 % intervals over replicates and questions), then one a run."""
    about = {"method": arm.method, "rm": arm.rm, "label": arm.label, "comparisons": comparisons(arm), **more}
    about |= {"replicates": len(arm.curves), "questions": arm.questions}
    mean: dict[str, Any] = about | {"curve": "mean", "replicate": ""}
    for name, values in numbers.items():
        one = Estimate.of(values)
        lo, hi = one.interval()
        mean |= {name: one.value, f"{name}_lo": lo, f"{name}_hi": hi}
    single = [
        about | {"curve": "replicate", "replicate": seeds} | {name: of[0, i] for name, of in numbers.items()}
        for i, seeds in enumerate(arm.seeds)
    ]
    return [mean, *single]
