"""Arms that differ in their labeler's bonus alone: what they measure over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.behaviour.sycophancy import ALL, Measured, dose
from analysis.runs.arms import common_seeds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns

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
        places = [[of.arm.seeds.index(seeds) for seeds in self.seeds] for of in self.arms]
        late = [of.late(metric, among)[own].T for of, own in zip(self.arms, places, strict=True)]
        return np.stack(late, axis=-1)

    def slope(self, metric: str, among: str = ALL) -> Estimate:
        """By least squares over doses, within each replicate."""
        away = self.doses - self.doses.mean()
        return Estimate.of(self.late(metric, among) @ away / (away**2).sum())


def drift(one: Measured, metric: str, among: str = ALL) -> Estimate:
    """A metric over the later part of the optimisation minus what it is among SFT's answers."""
    return Estimate.of((one.late(metric, among) - one.draws(metric, among)[:, :, 0]).T)


def dosed(found: Sequence[Measured], labeler: str = "sycophantic") -> Doses:
    """Arms in order of the doses of a labeler; MissingRuns with fewer than three of them, or none of dose 0."""
    by_dose = {of: one for one in found if (of := dose(one.arm.runs[0], labeler)) is not None}
    doses = sorted(by_dose)
    arms = tuple(by_dose[of] for of in doses)
    if len(doses) < FEWEST or 0 not in doses:
        raise MissingRuns(f"runs of doses {doses} are made: a slope needs dose 0 and at least two more")
    seeds = common_seeds([one.arm for one in arms])
    if not seeds:
        raise MissingRuns("no replicate has all doses")
    return Doses(np.array(doses), arms, tuple(seeds))
