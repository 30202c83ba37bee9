"""Best-of-n arms by how many comparisons their reward models learned from: numbers of every run, and their order.

A number of an arm is (B, R): of each replicate, first as it is and then in every draw of questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.reward_models.agreement import drawn, means, neighbours
from analysis.runs import naming
from analysis.runs.ablation import Rule
from analysis.runs.arms import DRAWS, SEED, Arm, Study, study
from analysis.runs.fit_tables import fitted_points
from analysis.runs.turnover_claims import spearman
from analysis.statistics import fits
from analysis.statistics.calibration import agreement, log_loss
from analysis.statistics.claims import Claim, exceeds
from analysis.statistics.resampling import original, percentile_interval, resamples
from rlhf_lab.functional.intervals import Estimate, Interval, conditional
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


# --- order --------------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """Spearman's correlation over runs, with the bootstrap's draws."""

    rho: float
    draws: Floats
    arms: int
    runs: int
    replicates: int  # of the arm with the fewest

    def interval(self) -> Interval:
        """Its 95 % interval."""
        return percentile_interval(self.draws)


def order(arms: Sequence[Arm], first: Sequence[Any], second: Sequence[Any]) -> Order:
    """The rank correlation of two numbers of `arms`, each (B, R) or one for all replicates; draws resample replicates
    within arms, and questions.
    """
    rng = np.random.default_rng(SEED)
    taken = []
    for arm, *of in zip(arms, first, second, strict=True):
        count = len(arm.curves)
        rows = np.stack([draw.replicates for draw in (original(count), *resamples(count, rng, DRAWS))])
        taken.append([np.take_along_axis(np.broadcast_to(one, rows.shape), rows, axis=1) for one in of])
    one, other = (np.concatenate(parts, axis=1) for parts in zip(*taken, strict=True))
    rho = spearman(one, other)
    counts = [len(arm.curves) for arm in arms]
    return Order(float(rho[0]), rho[1:], len(arms), sum(counts), min(counts))


def grows(sentence: str, found: Order, rule: Rule, sign: int = 1, **about: Any) -> Claim:
    """The claim that a rank correlation is above 0, or below it for `sign` -1; decided from `rule`'s replicates and
    arms on.
    """
    draws = found.draws if sign > 0 else -found.draws
    interval = percentile_interval(draws)
    enough = found.replicates >= rule["replicates"] and found.arms >= rule["arms"]
    return Claim(
        claim=f"{sentence} ({'' if sign > 0 else 'minus '}Spearman over runs)",
        measured=sign * found.rho,
        interval=interval,
        threshold=0.0,
        n=found.runs,
        replicates=found.replicates,
        met=exceeds(interval, 0.0) if enough else None,
        rule=f"met: interval above 0; not met: not above 0; undecided under {rule['replicates']:g} replicates of "
        f"{rule['arms']:g} arms",
        unit="rank correlation",
        conditional=conditional(found.replicates),
        **about,
    )


def order_row(name: str, rm: str, found: Order) -> dict[str, Any]:
    """A row of a table of fits."""
    lo, hi = found.interval()
    about = {"method": "bon", "rm": rm, "label": rm, "form": "rank correlation", "parameter": name}
    about |= {"estimate": found.rho, "lo": lo, "hi": hi, "n": found.runs, "replicates": found.replicates}
    return about | {"note": "95 % interval; n counts runs"}
