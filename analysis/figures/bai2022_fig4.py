"""PPO judged by the reward model it is optimised against and by one of other questions (2204.05862, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.cross_judging import Judged, judged, smaller_gap
from analysis.runs import ablation, checks
from analysis.runs.arms import Study, study
from analysis.runs.gold_lost import split
from analysis.runs.naming import PROXY_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, exceeds, thresholds
from analysis.statistics.resampling import percentile_interval
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate, Interval, conditional
from rlhf_lab.store.records import MissingRuns, Run

NAME = "bai2022_fig4"
SWEEPS = ("bai2022_fig4",)

NUMBERS = ("train", "test", "gap")
EARLY = (1 / 6, 1 / 3)  # of the d of the last checkpoint: the upper half of its first third
LINEAR = 1 / 2  # the part of d over which the proxy is said to be linear


def make(runs: Sequence[Run]) -> FigureResult:
    """Train and test reward, and gold, over sqrt(KL), a panel a reward model; then the gap."""
    read = study(runs)
    found = sorted(judged(read), key=lambda one: one.train.parameters)
    if not found:
        raise MissingRuns(
            "no run whose answers a reward model of the other half of the questions scored is made "
            "(rm.half=first score.other_half=true)"
        )
    shown = Study(tuple(one.train for one in found))
    limits, table = thresholds(NAME), with_rewards(points_table(shown), found)
    figure = draw(table, found, limits["no_gap_early"]["margin"])
    notes = [*_notes(found), *checks.kl_bound_notes(shown)]
    return FigureResult(table, fits_table(found), claims(found, limits), figure, notes)


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Judged], limits: Thresholds) -> list[Claim]:
    """Of each reward model the gap early and at the end and how linear the proxy is; the larger against the smaller."""
    made: list[Claim] = []
    for one in found:
        made += [
            _no_gap_early(one, limits["no_gap_early"]),
            _gap_at_end(one, limits["gap_at_end"]),
            _linear(one, limits["linear"]),
        ]
    for small, large in pairwise(found):
        made += _smaller(small, large, limits["smaller_gap"])
    return made


def _about(one: Judged, topic: str) -> dict[str, Any]:
    return {"unit": PROXY_SDS, "subject": one.train.title, "topic": topic}


def _no_gap_early(one: Judged, rule: ablation.Rule) -> Claim:
    estimate = one.between("gap", *EARLY)
    return by_equivalence(
        f"{one.train.title}: train and test reward agree over the first third of d",
        estimate,
        -rule["margin"],
        rule["margin"],
        one.train.questions,
        enough=estimate.replicates >= rule["replicates"],
        **_about(one, "no gap early"),
    )


def _gap_at_end(one: Judged, rule: ablation.Rule) -> Claim:
    return by_estimate(
        f"{one.train.title}: train reward above test reward at the last checkpoint",
        one.at_end("gap"),
        rule,
        one.train.questions,
        **_about(one, "gap at the end"),
    )


def _linear(one: Judged, rule: ablation.Rule) -> Claim:
    estimate = Estimate.of(one.linearity(LINEAR))
    lo, hi = estimate.interval()
    interval = Interval(lo, min(hi, 1.0))
    return Claim(
        claim=f"{one.train.title}: the train reward is linear in d over its first half (R^2)",
        measured=estimate.value,
        interval=interval,
        threshold=rule["r_squared"],
        n=one.train.questions,
        replicates=estimate.replicates,
        met=exceeds(interval, rule["r_squared"]),
        rule=f"met: interval above {rule['r_squared']:g}; not met: not above it",
        unit="R^2",
        subject=one.train.title,
        topic="linear early",
        conditional=conditional(estimate.replicates),
    )


def _smaller(small: Judged, large: Judged, rule: ablation.Rule) -> list[Claim]:
    found = smaller_gap(small, large)
    if found is None:
        return []
    reach = float(found.reach.mean())
    return [
        by_estimate(
            f"{large.train.title}: a smaller gap than {small.train.label} at equal KL, up to KL {reach:.2g}",
            found.estimate,
            rule,
            large.train.questions,
            **_about(large, f"smaller gap than {small.train.rm}"),
        )
    ]


# --- tables -------------------------------------------------------------------------------------------------


def with_rewards(table: pd.DataFrame, found: Sequence[Judged]) -> pd.DataFrame:
    """The points with columns `train`, `test` and `gap`, and their 95 % intervals in rows of means."""
    table = table.copy()
    for one in found:
        own = table["label"] == one.train.label
        for name in NUMBERS:
            values = np.stack([of.values for of in one.paths(name)], axis=1)  # (B, R, K)
            means = [Estimate.of(values[:, :, k]) for k in range(values.shape[2])]
            rows = own & (table["curve"] == "mean")
            table.loc[rows, name] = [mean.value for mean in means]
            table.loc[rows, f"{name}_lo"] = [mean.interval().lo for mean in means]
            table.loc[rows, f"{name}_hi"] = [mean.interval().hi for mean in means]
            for place, seeds in enumerate(one.train.seeds):
                table.loc[own & (table["replicate"] == seeds), name] = values[0, place]
    return table


def fits_table(found: Sequence[Judged]) -> pd.DataFrame:
    """R^2 of each replicate, both rewards and their gap, what the test reward loses, how far they agree at first."""
    rows: list[dict[str, Any]] = []
    for one in found:
        draws = one.linearity(LINEAR)
        for seeds, of in zip(one.train.seeds, draws.T, strict=True):
            lo, hi = percentile_interval(of[1:])
            rows.append(
                _row(one, "R^2 of train on d, first half", of[0], lo, hi)
                | {"replicate": seeds, "replicates": 1}
            )
        estimates = {
            "gap, first third of d": one.between("gap", *EARLY),
            "gap at the end": one.at_end("gap"),
            "train at the end": one.at_end("train"),
            "test at the end": one.at_end("test"),
            "correlation of train and test within SFT's prompts": one.agreement,
        }
        rows += [
            _row(one, name, of.value, *of.interval()) | {"replicates": of.replicates}
            for name, of in estimates.items()
        ]
        fall = turnover(one.test.stacked("proxy"), split(one.test))
        lo, hi = fall.drop - 1.96 * fall.se, fall.drop + 1.96 * fall.se
        rows.append(
            _row(one, "test, its peak minus its end", fall.drop, lo, hi)
            | {"replicates": len(one.test.curves)}
        )
    return pd.DataFrame(rows)


def _row(one: Judged, parameter: str, estimate: float, lo: float, hi: float) -> dict[str, Any]:
    about = {"method": one.train.method, "rm": one.train.rm, "label": one.train.label, "form": "halves"}
    about |= {"parameter": parameter, "estimate": estimate, "lo": lo, "hi": hi}
    return about | {"n": one.train.questions, "note": "95 % interval; rewards in their SDs within a prompt"}


def _notes(found: Sequence[Judged]) -> list[str]:
    """Whether the test reward falls, and the gap that the two rewards' disagreement on SFT's answers accounts for."""
    notes = []
    for one in found:
        fall, gap, train = (
            turnover(one.test.stacked("proxy"), split(one.test)),
            one.at_end("gap"),
            one.at_end("train"),
        )
        state = "falls" if fall.drop >= 3 * fall.se else "does not fall clearly"
        alone = (1 - one.agreement.value) * train.value
        notes.append(
            f"{one.train.title}: the test reward {state} by the end (its peak minus its end {fall.drop:+.2f} +- "
            f"{1.96 * fall.se:.2f}; in Bai et al. it still rises). The gap is {gap.value:+.2f} SD; rewards "
            f"that correlate at {one.agreement.value:.2f} among SFT's answers would part by {alone:.2f} if nothing but "
            "that correlation counted"
        )
    return notes


# --- ink ----------------------------------------------------------------------------------------------------

TRAIN, TEST, GOLD = "#3c6fb5", "#d1495b", "0.45"


def draw(table: pd.DataFrame, found: Sequence[Judged], margin: float) -> Figure:
    """A panel a reward model: train, test and gold; then the gap of all."""
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(found) + 1, 3.1, sharey=False)
    for panel, one in zip(axes, found, strict=False):
        own = means[means["label"] == one.train.label]
        for name, colour in (("train", TRAIN), ("test", TEST)):
            _band(panel, own, name, colour)
        panel.plot(own["kl"], own["gold"], color=GOLD, linewidth=0.8)
        theme.letter(panel, f"reward models of {one.train.rm}")
    theme.share_limits(axes[:-1])
    for one, colour in zip(found, theme.sizes(len(found)), strict=True):
        own = means[means["label"] == one.train.label]
        _band(axes[-1], own, "gap", colour)
        last = own.iloc[-1]
        axes[-1].annotate(
            one.train.rm,
            (last["kl"], last["gap"]),
            (2, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    axes[-1].axhspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    theme.letter(axes[-1], "train minus test")
    for panel in axes:
        theme.square_root_nats(panel, means["kl"].max() * 1.06, gap=0.14)
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.margins(y=0.15)
    axes[0].set_ylabel("score above the initial policy's (SDs there)")
    axes[len(found) // 2].set_xlabel(kl_axis(means["kl_estimator"]))
    handles = [
        theme.key("reward model optimised against", TRAIN, linewidth=1.5),
        theme.key("reward model of the other questions", TEST, linewidth=1.5),
        theme.key("gold", GOLD, linewidth=0.8),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=2.0)
    return figure


def _band(panel: Axes, rows: pd.DataFrame, name: str, colour: Any) -> None:
    panel.fill_between(
        rows["kl"], rows[f"{name}_lo"], rows[f"{name}_hi"], color=colour, alpha=0.14, linewidth=0
    )
    panel.plot(rows["kl"], rows[name], color=colour, linewidth=1.5)
