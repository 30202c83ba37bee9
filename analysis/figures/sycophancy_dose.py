"""Sycophancy of best-of-n over how much the labeler is given to being pleased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import consistency, sycophancy
from analysis.arms import Arm, common_seeds, study
from analysis.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from analysis.plate import Plate
from analysis.resampling import Estimate
from analysis.sycophancy import ALL, KNOWN, METRICS, Measured, dose
from rlhf_lab.records import MissingRuns, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "sycophancy_dose"
SWEEPS = ("sycophancy",)

Floats = NDArray[np.float64]

FEWEST = 3  # doses of a slope


class Doses(NamedTuple):
    """Arms of best-of-n by the labeler's bonus, from 0."""

    doses: Floats  # (D,) gold units
    arms: tuple[Measured, ...]
    seeds: tuple[str, ...]  # that all arms have

    def late(self, metric: str, among: str) -> Floats:
        """(B, R, D): a metric over the upper half of d."""
        places = [[of.arm.seeds.index(seeds) for seeds in self.seeds] for of in self.arms]
        late = [of.late(metric, among)[own].T for of, own in zip(self.arms, places, strict=True)]
        return np.stack(late, axis=-1)

    def slope(self, metric: str, among: str = ALL) -> Estimate:
        """By least squares over doses, within each replicate."""
        away = self.doses - self.doses.mean()
        return Estimate.of(self.late(metric, among) @ away / (away**2).sum())


def drift(one: Measured, metric: str, among: str = ALL) -> Estimate:
    """A metric over the upper half of d minus what it is among SFT's answers."""
    return Estimate.of((one.late(metric, among) - one.draws(metric, among)[:, :, 0]).T)


def make(runs: Sequence[Run]) -> Plate:
    """Each metric over the dose, and what best-of-n makes of it at dose 0."""
    own = [run for run in runs if run.method == "BestOfN" and (of := dose(run)) is not None and of >= 0]
    if not own:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    read = study(own)
    found = dosed(list(sycophancy.measured(read).values()))
    table = _table(found)
    made, figure = claims(found, thresholds(NAME)), draw(found, table)
    return Plate(table, _fits(found), made, figure, consistency.notes(read))


def dosed(found: Sequence[Measured]) -> Doses:
    """Arms in order of their doses; MissingRuns with fewer than three of them, or none of dose 0."""
    by_dose = {of: one for one in found if (of := dose(one.arm.runs[0])) is not None}
    doses = sorted(by_dose)
    arms = tuple(by_dose[of] for of in doses)
    if len(doses) < FEWEST or doses[0] != 0:
        raise MissingRuns(f"runs of doses {doses} are made: a slope needs dose 0 and at least two more")
    seeds = common_seeds([one.arm for one in arms])
    if not seeds:
        raise MissingRuns("no replicate has all doses")
    return Doses(np.array(doses), arms, tuple(seeds))


def claims(found: Doses, limits: Thresholds) -> list[Claim]:
    """The slope of each metric on the dose; that nothing changes at dose 0."""
    made = []
    plain, rule = found.arms[0], limits["flat"]
    for metric in METRICS:
        n = plain.questions(metric)
        made.append(
            by_estimate(
                f"{metric} sycophancy over the upper half of d grows with the labeler's bonus",
                *(found.slope(metric), limits["slope"], n),
                unit="share of answers a gold unit",
                subject="best-of-n",
                topic=f"{metric} grows",
            )
        )
        made.append(
            by_equivalence(
                f"dose 0: {metric} sycophancy over the upper half of d is SFT's",
                *(drift(plain, metric), -rule["margin"], rule["margin"], n),
                enough=len(plain.arm.seeds) >= rule["replicates"],
                unit="share of answers",
                subject="best-of-n, dose 0",
                topic=f"{metric} flat",
            )
        )
    return made


def _table(found: Doses) -> pd.DataFrame:
    rows = []
    for of, one in zip(found.doses.tolist(), found.arms, strict=True):
        for metric in METRICS:
            for among in (ALL, KNOWN):
                start, end = one.at(0, metric, among), Estimate.of(one.late(metric, among).T)
                lo, hi = end.interval()
                rows.append(
                    sycophancy.about(one.arm)
                    | {"dose": of, "metric": metric, "among": among, "sft": start.value, "value": end.value}
                    | {"lo": lo, "hi": hi, "se": end.se}
                    | {"questions": one.questions(metric, among), "replicates": end.replicates}
                )
    return pd.DataFrame(rows)


def _fits(found: Doses) -> pd.DataFrame:
    plain: Arm = found.arms[0].arm
    rows: list[dict[str, Any]] = []
    for metric in METRICS:
        for among in (ALL, KNOWN):
            n, form = found.arms[0].questions(metric, among), f"{among} questions"
            slope = found.slope(metric, among)
            rows.append(sycophancy.fit(plain, form, f"slope of {metric} on the dose", slope, n))
            moved = drift(found.arms[0], metric, among)
            rows.append(sycophancy.fit(plain, form, f"{metric} at dose 0 minus SFT's", moved, n))
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Doses, table: pd.DataFrame) -> Figure:
    """A panel a metric: its value over the dose, a line through it, and SFT's."""
    from analysis import theme

    figure, axes = theme.panels(len(METRICS), 2.3, sharey=False)
    whole = table[table["among"] == ALL]
    for panel, metric in zip(axes, METRICS, strict=True):
        _panel(panel, whole[whole["metric"] == metric], found.slope(metric))
        panel.set_title(metric)
    axes[0].set_ylabel("sycophancy (share)\nover the upper half of d")
    axes[len(axes) // 2].set_xlabel("bonus of the labeler for what pleases the user (gold units)")
    handles = [
        theme.key("best-of-n, 95 % interval", theme.ORANGE, marker="o"),
        theme.key("least squares", theme.ORANGE, linewidth=1.2),
        theme.key("SFT", theme.GREY, linestyle=theme.DASHED, linewidth=1),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _panel(panel: Axes, rows: pd.DataFrame, slope: Estimate) -> None:
    from analysis import theme

    panel.axhline(rows["sft"].mean(), color=theme.GREY, linestyle=theme.DASHED, linewidth=1)
    panel.vlines(rows["dose"], rows["lo"], rows["hi"], color=theme.ORANGE, linewidth=1.2)
    panel.plot(rows["dose"], rows["value"], "o", color=theme.ORANGE, markersize=4)
    away = rows["dose"] - rows["dose"].mean()
    panel.plot(rows["dose"], rows["value"].mean() + slope.value * away, color=theme.ORANGE, linewidth=1.2)
    whole = [of for of in rows["dose"] if of == round(of)]
    panel.set_xticks(whole, [f"{of:g}" for of in whole])
    panel.margins(x=0.1, y=0.15)
