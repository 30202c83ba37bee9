"""Predicted against actual preference over KL, last checkpoints of PPO under KL penalties (2009.01325, Figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE
from analysis.runs.arms import Arm, Study, study
from analysis.runs.gold_lost import split
from analysis.runs.penalties import (
    FEWEST,
    PLAIN_PENALTY,
    coefficient,
    end_kl,
    falls_with_coefficient,
    families,
    interior_maximum,
    kind,
)
from analysis.runs.tables import points_table
from analysis.runs.win_rates import ACTUAL, NUMBERS, PREDICTED, drawn, ends, estimates, raw, with_win_rates
from analysis.statistics.claims import Claim, Thresholds, by_estimate, by_ses, exceeds, thresholds
from analysis.statistics.turnover import Turnover, turnover
from rlhf_lab.functional.intervals import Estimate, Interval, conditional
from rlhf_lab.store.records import MissingRuns, Run

NAME = "stiennon2020_fig5"
SWEEPS = ("stiennon2020_fig5",)

SHARE = "share preferred to SFT"


class Penalised(NamedTuple):
    """PPO against one reward model under penalties."""

    arms: list[Arm]  # with both shares at every checkpoint, the unpenalised first, then rising coefficients
    last: Arm  # the initial policy, then last checkpoints, the largest coefficient first

    @property
    def title(self) -> str:
        """Method and reward model in words."""
        return self.arms[0].title


def make(runs: Sequence[Run]) -> FigureResult:
    """Both preferences over KL: of last checkpoints along the coefficients, then of checkpoints without a penalty."""
    read = study(runs)
    found = penalised(read)
    if not found:
        raise MissingRuns(
            f"no PPO runs against one reward model without a penalty and under {FEWEST - 1} coefficients or more "
            "are made"
        )
    shown = Study(tuple(arm for one in found for arm in one.arms))
    table = with_preferences(points_table(shown), shown.arms)
    notes = [_against_gold(one) for one in found] + checks.kl_bound_notes(shown)
    return FigureResult(table, fits_table(found), claims(found, thresholds(NAME)), draw(found), notes)


def penalised(read: Study) -> list[Penalised]:
    """Families of KL penalties in the reward; one reward model, whose units are Bradley and Terry's."""
    found = []
    for family in families(read).values():
        if kind(family[1]) != PLAIN_PENALTY or not ablation.is_plain(family[0], RULE) or len(family) < FEWEST:
            continue
        arms = [with_win_rates(arm) for arm in family]
        last = ends(arms)
        if last is not None:
            found.append(Penalised(arms, last))
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Penalised], limits: Thresholds) -> list[Claim]:
    """Of coefficients, then of the checkpoints without a penalty."""
    made: list[Claim] = []
    for one in found:
        made += _monotone(one, "a larger penalty ends at a smaller KL", "smaller KL", end_kl, limits)
        made += _monotone(
            *(one, "predicted preference is higher the smaller the penalty", "predicted rises"),
            lambda arm, replicate: drawn(arm, PREDICTED)[:, replicate, -1],
            limits,
        )
        made += [
            _interior(one, limits["interior_maximum"]),
            _falls(one, at_ends(one, ACTUAL), "smallest coefficient", "actual falls", limits["falls"]),
            _below(one, limits["below_one_half"]),
            _falls(
                *(
                    one,
                    along(one, ACTUAL),
                    "last checkpoint without a penalty",
                    "actual falls while training",
                ),
                limits["falls"],
            ),
        ]
    return made


def at_ends(one: Penalised, name: str) -> Turnover:
    """Fall of a number from its peak over coefficients to the least penalised."""
    values = one.last.stacked(name) if name == "gold" else raw(one.last, name)
    return turnover(values[:, :, 1:], split(one.last))  # without the initial policy


def along(one: Penalised, name: str) -> Turnover:
    """Fall of a share from its peak over the checkpoints of the unpenalised runs to the last one."""
    return turnover(raw(one.arms[0], name), split(one.arms[0]))


def _monotone(
    one: Penalised, sentence: str, topic: str, number: Callable[[Arm, int], Any], limits: Thresholds
) -> list[Claim]:
    found, rule = falls_with_coefficient(one.arms, number), limits["monotone"]
    if found is None:
        return []
    lo, hi = found.interval()
    interval = Interval(lo, min(hi, 1.0))
    return [
        Claim(
            claim=f"{one.title}: {sentence} (minus Spearman, within replicates)",
            measured=found.value,
            interval=interval,
            threshold=rule["correlation"],
            n=len(one.arms) * found.replicates,
            replicates=found.replicates,
            met=exceeds(interval, rule["correlation"]),
            rule=f"met: interval above {rule['correlation']:g}; not met: not above it",
            unit="rank correlation",
            subject=one.title,
            topic=topic,
            conditional=found.is_conditional,
        )
    ]


def _interior(one: Penalised, rule: Mapping[str, float]) -> Claim:
    return interior_maximum(
        f"{one.title}: actual preference is highest between the largest coefficient and the smallest",
        raw(one.last, ACTUAL)[:, :, 1:],
        *(split(one.last), rule),
        unit=SHARE,
        subject=one.title,
        topic="maximum between coefficients",
    )


def _falls(one: Penalised, fall: Turnover, end: str, topic: str, rule: Mapping[str, float]) -> Claim:
    count = len(fall.drops)
    return by_ses(
        f"{one.title}: actual preference falls from its peak to the {end}",
        *(fall.drop, fall.se, rule, one.last.questions),
        unit=SHARE,
        subject=one.title,
        topic=topic,
        replicates=count,
        conditional=conditional(count),
    )


def _below(one: Penalised, rule: Mapping[str, float]) -> Claim:
    return by_estimate(
        f"{one.title}: the least penalised policy is preferred to SFT less than half of the time",
        *(Estimate.of(0.5 - drawn(one.last, ACTUAL)[:, :, -1]), rule, one.last.questions),
        unit=SHARE,
        subject=one.title,
        topic="actual below one half",
    )


# --- tables -------------------------------------------------------------------------------------------------


def with_preferences(table: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """The points with `predicted` and `actual` beside mean gold and proxy; 95 % intervals in rows of means."""
    table = table.copy()
    for arm in arms:
        own = (table["method"] == arm.method) & (table["label"] == arm.label)
        for name in NUMBERS:
            means, rows = estimates(arm, name), own & (table["curve"] == "mean")
            table.loc[rows, name] = [one.value for one in means]
            table.loc[rows, f"{name}_lo"] = [one.interval().lo for one in means]
            table.loc[rows, f"{name}_hi"] = [one.interval().hi for one in means]
            for seeds, values in zip(arm.seeds, drawn(arm, name)[0], strict=True):
                table.loc[own & (table["replicate"] == seeds), name] = values
    return table


def fits_table(found: Sequence[Penalised]) -> pd.DataFrame:
    """Falls from the peak over coefficients to the least penalised: of both shares, and of mean gold."""
    rows = []
    for one in found:
        for name in (*NUMBERS, "gold"):
            fall = at_ends(one, name)
            about = {"method": one.last.method, "rm": one.last.rm, "label": one.last.label}
            about |= {"form": "last checkpoints", "parameter": f"{name}, its peak minus the least penalised"}
            about |= {
                "estimate": fall.drop,
                "lo": fall.drop - 1.96 * fall.se,
                "hi": fall.drop + 1.96 * fall.se,
            }
            about |= {"se": fall.se, "n": one.last.questions, "replicates": len(fall.drops)}
            rows.append(about | {"note": "95 % interval; " + ("SDs" if name == "gold" else "share of pairs")})
    return pd.DataFrame(rows)


def _against_gold(one: Penalised) -> str:
    """Which of win rate and mean reward shows the fall more clearly."""
    share, gold = at_ends(one, ACTUAL), at_ends(one, "gold")
    return (
        f"{one.title}: from the peak over coefficients to the least penalised actual preference falls by "
        f"{share.drop:+.3f} ({share.drop / share.se:.1f} SE), mean gold by {gold.drop:+.2f} SD "
        f"({gold.drop / gold.se:.1f} SE); a share saturates where a mean may go on"
    )


# --- ink ----------------------------------------------------------------------------------------------------

COLOURS = {PREDICTED: "#d1495b", ACTUAL: "#3c6fb5"}
WORDS = {PREDICTED: "predicted by the reward model", ACTUAL: "actual, by gold"}


def draw(found: Sequence[Penalised]) -> Figure:
    """Two panels a reward model: last checkpoints along coefficients, and checkpoints without a penalty."""
    figure, axes = theme.panels(2 * len(found), 3.1, sharey=False)
    for one, left, right in zip(found, axes[::2], axes[1::2], strict=True):
        reach = max(np.max(_mean_kl(arm)) for arm in (one.last, one.arms[0]))
        for panel, arm in ((left, one.last), (right, one.arms[0])):
            _draw_shares(panel, arm, points="o" if arm is one.last else "")
            theme.square_root_nats(panel, reach, gap=0.1)
            panel.margins(y=0.18)
            panel.set_xlabel(kl_axis([one.arms[0].curves[0].estimator]))
        _name_coefficients(left, one)
        theme.letter(left, f"ends of runs, {one.last.rm}")
        theme.letter(right, "checkpoints, no penalty")
    theme.share_limits(axes)
    for panel in axes:
        panel.set_ylim(bottom=max(panel.get_ylim()[0], 0))  # a share
    axes[0].set_ylabel("share of answers preferred to SFT's")
    handles = [theme.key(WORDS[name], COLOURS[name], linewidth=1.5) for name in NUMBERS]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=2.0)
    return figure


def _mean_kl(arm: Arm) -> Any:
    return np.mean([curves.kl.mean(axis=0) for curves in arm.curves], axis=0)


def _draw_shares(panel: Axes, arm: Arm, points: str) -> None:
    kl = _mean_kl(arm)
    for name in NUMBERS:
        means = estimates(arm, name)
        lo, hi = zip(*(one.interval() for one in means), strict=True)
        panel.fill_between(kl, lo, hi, color=COLOURS[name], alpha=0.14, linewidth=0)
        style = {"color": COLOURS[name], "linewidth": 1.5, "markersize": 3.5}
        panel.plot(kl, [one.value for one in means], marker=points or None, **style)
    panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)


def _name_coefficients(panel: Axes, one: Penalised) -> None:
    """Above the predicted share: the coefficient of each point."""
    places = zip(_mean_kl(one.last)[1:], estimates(one.last, PREDICTED)[1:], strict=True)
    for (kl, share), arm in zip(places, [*one.arms[:0:-1], one.arms[0]], strict=True):
        panel.annotate(
            f"{coefficient(arm):g}",
            (kl, share.value),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=6,
        )
