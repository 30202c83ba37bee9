"""Arms that differ in the bonus of their labeler alone, its dose: what they measure over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.behaviour.answer_shares import ALL, Measured
from analysis.runs import configuration, naming
from analysis.runs.arms import arm_by, common_seeds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

FEWEST = 3  # doses of a slope


class Doses(NamedTuple):
    """Arms of one method by the labeler's bonus, the lowest first; 0 is among them."""

    doses: Floats  # (D,) gold units
    arms: tuple[Measured, ...]
    seeds: tuple[str, ...]  # that all arms have

    @property
    def plain(self) -> Measured:
        """The arm of dose 0."""
        return self.arms[int(np.flatnonzero(self.doses == 0)[0])]

    def late(self, metric: str, among: str = ALL) -> Floats:
        """(B, R, D): a metric over the later part of the optimisation (`Measured.late`)."""
        late = []
        for measured in self.arms:
            replicates = [measured.arm.seeds.index(seeds) for seeds in self.seeds]
            late.append(measured.late(metric, among)[replicates].T)
        return np.stack(late, axis=-1)

    def slope(self, metric: str, among: str = ALL) -> Estimate:
        """Return the slope over doses, by least squares within each replicate."""
        centred = self.doses - self.doses.mean()
        return Estimate.of(self.late(metric, among) @ centred / (centred**2).sum())


def dose(run: Run, labeler: str = "sycophantic") -> float | None:
    """Return the bonus of a run's labeler, 0 for gold itself.

    None for runs of another labeler, and for runs whose reward or SFT is changed in another way too.
    """
    if not naming.plain_but_for_labels(run):
        return None
    option = run.choices["labeler"]
    if option == configuration.PLAIN["labeler"]:
        return 0.0
    return float(run.config["labeler"]["bonus"]) if option == labeler else None


def drift(measured: Measured, metric: str, among: str = ALL) -> Estimate:
    """Return a metric over the later part of the optimisation minus its value among SFT's answers."""
    return Estimate.of((measured.late(metric, among) - measured.draws(metric, among)[:, :, 0]).T)


def dosed(arms: Sequence[Measured], labeler: str = "sycophantic") -> Doses:
    """Return the arms of a labeler in order of its doses.

    Raises MissingRuns with fewer than three doses, without dose 0, or where no replicate has all doses.
    """
    measured_of = {measured.arm.title: measured for measured in arms}
    of_labeler = [measured.arm for measured in arms if dose(measured.arm.runs[0], labeler) is not None]
    by_bonus = arm_by(of_labeler, lambda arm: dose(arm.runs[0], labeler) or 0.0)
    by_dose = {bonus: measured_of[arm.title] for bonus, arm in by_bonus.items()}
    doses = sorted(by_dose)
    if len(doses) < FEWEST or 0 not in doses:
        raise MissingRuns(f"runs of doses {doses} are made: a slope needs dose 0 and at least two more")
    ordered = tuple(by_dose[bonus] for bonus in doses)
    seeds = common_seeds([measured.arm for measured in ordered])
    if not seeds:
        raise MissingRuns("no replicate has all doses")
    return Doses(np.array(doses), ordered, tuple(seeds))
