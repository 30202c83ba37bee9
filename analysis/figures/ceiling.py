"""The evaluation ceiling: truth and approval over optimisation, by what the labeler can check (2409.12822).

Truth is the approval of who can check everything, so that both are shares of answers and start from the same bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import approval
from analysis.behaviour.approval import Rates, checks_everything, competence
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import BEST_OF_N, Arm, study, title
from analysis.runs.gold_lost import split
from analysis.runs.rank_order import order_claim
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from analysis.statistics.resampling import weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "ceiling"
SWEEPS = ("ceiling",)

LEAST = 0  # competence of the labeler to whom the control's answers are shown, too
SHARE = "share of answers"

Family = Sequence[Arm]


def make(runs: Sequence[Run]) -> FigureResult:
    """Truth and approval over KL, a colour a competence; where truth peaks, and the gap at the end, over competence."""
    read = study(runs)
    families = [arms for arms in approval.families(read) if len(arms) > 1]
    if not families:
        raise MissingRuns("no runs of limited labelers of two competences are made")
    arms = [arm for family in families for arm in family]
    found = {arm.title: approval.rates(arm) for arm in arms}
    limits = thresholds(NAME)
    made = [claim for family in families for claim in claims(family, found, limits)]
    table, fits = (
        approval.table(arms, found),
        pd.DataFrame([row for arm in arms for row in _rows(arm, found)]),
    )
    return FigureResult(
        table, fits, made, draw(families, found), [*notes(families, found), *checks.kl_bound_notes(read)]
    )


def gap(found: Rates) -> Estimate:
    """Approval minus truth at the end less the same among SFT's answers."""
    return Estimate.of(found.rise("approval", less="truth"))


def reach_of(family: Family, found: Mapping[str, Rates]) -> float:
    """The largest KL that every run of a family reaches, nats."""
    return min(float(found[arm.title].kl[0].max(axis=1).min()) for arm in family)


# --- claims -------------------------------------------------------------------------------------------------


def claims(family: Family, found: Mapping[str, Rates], limits: Thresholds) -> list[Claim]:
    """Of the family, then of the labeler in it who can check everything."""
    made = _peaks_later(family, found, limits["peaks_later"]) if len(family) > 2 else []
    made += _gap_grows(family, found, limits["gap_grows"])
    for arm in family:
        if checks_everything(arm):
            made += _control(arm, found[arm.title], limits)
    return made


def _peaks_later(family: Family, found: Mapping[str, Rates], rule: Mapping[str, float]) -> list[Claim]:
    method, reach = title(family[0].method), reach_of(family, found)
    return order_claim(
        family,
        lambda arm: approval.kl_at_peak(found[arm.title], "truth", reach),
        f"{method}: truth peaks at a larger KL the more the labeler can check (Spearman over runs)",
        rule,
        size=competence,
        subject=method,
        topic="truth peaks later with competence",
    )


def _gap_grows(family: Family, found: Mapping[str, Rates], rule: Mapping[str, float]) -> list[Claim]:
    """The slope over competence within replicates, turned round."""
    gaps = gap_by_replicate(family, found)
    if gaps is None:
        return []
    method = title(family[0].method)
    falling = Estimate.of(-approval.slope(gaps, [competence(arm) for arm in family]))
    return [
        by_estimate(
            f"{method}: approval parts further from truth at {ablation.end_of(family[0])} the less the labeler "
            f"can check (slope over {len(family)} competences)",
            falling,
            rule,
            family[0].questions,
            unit=f"{SHARE}, for each operation less",
            subject=method,
            topic="gap grows as competence falls",
        )
    ]


def gap_by_replicate(family: Family, found: Mapping[str, Rates]) -> list[np.ndarray] | None:
    """(B, R) of each arm, what approval gains beyond truth; of the replicates that all have, None without one."""
    seeds = [one for one in family[0].seeds if all(one in arm.seeds for arm in family)]
    if not seeds:
        return None
    return [
        found[arm.title].rise("approval", less="truth")[:, [arm.seeds.index(one) for one in seeds]]
        for arm in family
    ]


def _control(arm: Arm, found: Rates, limits: Thresholds) -> list[Claim]:
    """No gap to himself, which is no finding; none to who cannot check his answers; and truth that is kept."""
    about: dict[str, Any] = {"unit": SHARE, "subject": arm.title}
    flat, kept = limits["control_is_flat"], limits["control_keeps_truth"]
    margin, end = flat["margin"], ablation.end_of(arm)
    enough = len(arm.curves) >= flat["replicates"]
    return [
        by_equivalence(
            f"{arm.title}: his approval does not part from truth",
            gap(found),
            -margin,
            margin,
            arm.questions,
            enough,
            topic="no gap",
            by_construction=True,
            **about,
        ),
        by_equivalence(
            f"{arm.title}: nor does the approval of a labeler of competence {LEAST} who sees the same answers",
            gap(approval.rates(arm, LEAST)),
            -margin,
            margin,
            arm.questions,
            enough,
            topic=f"no gap to competence {LEAST}",
            **about,
        ),
        by_equivalence(
            f"{arm.title}: truth does not fall from its peak to {end}",
            truth_lost(arm),
            -np.inf,
            kept["margin"],
            arm.questions,
            enough,
            topic="truth is kept",
            **about,
        ),
    ]


def truth_lost(arm: Arm) -> Estimate:
    """Truth at its peak minus truth at the end, peak and loss on different halves of the questions."""
    drops = turnover(approval.truth_by_question(arm), split(arm)).drops
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return Estimate.of(weights @ drops.T / weights.sum(axis=1, keepdims=True))


def _rows(arm: Arm, found: Mapping[str, Rates]) -> list[dict[str, Any]]:
    """What approval gains beyond truth, where truth peaks, what it loses from there."""
    of = found[arm.title]
    peak = Estimate.of(approval.kl_at_peak(of, "truth", np.inf))
    numbers = {
        "approval minus truth at the end, less SFT's": (gap(of), SHARE),
        "KL where truth peaks": (peak, "nats; a peak at the last point is this KL or later"),
        "truth lost from its peak to the end": (truth_lost(arm), SHARE),
    }
    return [
        approval.row(arm, arm.curves[0].points[-1], estimate)
        | {"parameter": name, "form": "by competence", "note": f"95 % interval; {unit}"}
        for name, (estimate, unit) in numbers.items()
    ]


def notes(families: Sequence[Family], found: Mapping[str, Rates]) -> list[str]:
    """In how many runs truth has not turned: their peaks lie at the largest KL or later."""
    counts = []
    for family in families:
        for arm in family:
            place = found[arm.title].draws["truth"][0].argmax(axis=1)
            still = int((place == len(arm.curves[0].points) - 1).sum())
            counts += [f"{arm.title} {still} of {len(arm.curves)}"] if still else []
    told = f"truth is highest at the last point (its peak lies there or later) in: {'; '.join(counts) or 'no run'}"
    bar = "approved: worth more to the labeler than the median of SFT's answers to the same family and difficulty"
    return [f"{bar}; truth: approved of by who can check everything", told]


# --- ink ----------------------------------------------------------------------------------------------------


def draw(families: Sequence[Family], found: Mapping[str, Rates]) -> Figure:
    """Above truth and approval over KL, a panel a method; below what becomes of them over competence."""
    figure = theme.blank(theme.WIDTH, 5.4)
    grid = figure.subplots(2, 2, squeeze=False)
    colours = _colours(families)
    for panel, family in zip(grid[0], families[:2], strict=False):
        _draw_curves(panel, family, found, colours)
        theme.letter(panel, title(family[0].method))
    for panel in grid[0][len(families) :]:
        panel.set_visible(False)
    grid[0][0].set_ylabel("share of answers")
    _draw_peaks(grid[1][0], families[0], found, colours)
    _draw_gaps(grid[1][1], families, found, colours)
    handles = [theme.key(_named(value), colour, linewidth=2) for value, colour in colours.items()]
    handles += [
        theme.key("truth, 95 % band", linewidth=1.5),
        theme.key("approval by the labeler", linestyle=theme.DASHED, linewidth=1.1),
        theme.key("truth peaks", marker="o"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _colours(families: Sequence[Family]) -> dict[float, Any]:
    there = sorted({competence(arm) for family in families for arm in family})
    return dict(zip(there, theme.sizes(len(there)), strict=True))


def _named(value: float) -> str:
    return "checks nothing" if value < 0 else "facts alone" if value == 0 else f"sums of up to {value:g}"


def _draw_curves(
    panel: Axes, family: Family, found: Mapping[str, Rates], colours: Mapping[float, Any]
) -> None:
    reach = 0.0
    for arm in family:
        of, colour = found[arm.title], colours[competence(arm)]
        kl = of.kl[0].mean(axis=0)
        truth, approved = (of.draws[name] for name in ("truth", "approval"))
        bounds = np.array([Estimate.of(truth[:, :, k]).interval() for k in range(len(kl))])
        panel.fill_between(kl, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.12, linewidth=0)
        curve = truth[0].mean(axis=0)
        panel.plot(kl, curve, color=colour, linewidth=1.5)
        panel.plot(kl, approved[0].mean(axis=0), color=colour, linewidth=1.1, linestyle=theme.DASHED)
        top = int(curve.argmax())
        theme.mark(panel, kl[top], curve[top], colour, "^" if top == len(kl) - 1 else "o")
        reach = max(reach, float(kl.max()))
    theme.square_root_nats(panel, reach, gap=0.1)
    panel.set_xlabel(kl_axis([family[0].curves[0].estimator]))
    panel.margins(y=0.14)


def _draw_peaks(
    panel: Axes, family: Family, found: Mapping[str, Rates], colours: Mapping[float, Any]
) -> None:
    """KL of truth's peak over competence: every run faint, the mean bold."""
    reach = reach_of(family, found)
    for arm in family:
        value, at = competence(arm), approval.kl_at_peak(found[arm.title], "truth", reach)[0]
        spread = value + 0.1 * np.linspace(-1, 1, len(at))
        panel.plot(spread, at, "o", color=colours[value], markersize=3, alpha=0.5)
        panel.plot([value - 0.25, value + 0.25], [at.mean()] * 2, color=colours[value], linewidth=2.2)
    panel.axhline(reach, color="0.7", linewidth=0.6, linestyle=":")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("operations that the labeler can check")
    panel.set_ylabel(f"KL where truth peaks (nats)\n{title(family[0].method)}; dotted: or later")


def _draw_gaps(
    panel: Axes, families: Sequence[Family], found: Mapping[str, Rates], colours: Mapping[float, Any]
) -> None:
    panel.axhline(0, color="0.7", linewidth=0.6)
    for place, family in enumerate(families):
        marker, shift = ("o", "s", "^")[place % 3], 0.14 * (place - (len(families) - 1) / 2)
        for arm in family:
            one, x = gap(found[arm.title]), competence(arm) + shift
            panel.plot([x, x], one.interval(), color=colours[competence(arm)], linewidth=1.8)
            theme.mark(panel, x, one.value, colours[competence(arm)], marker)
    panel.set_xlabel("operations that the labeler can check")
    panel.set_ylabel("approval minus truth\nat the end, less SFT's")
    handles = [
        theme.key(_ended(family[0]), marker=("o", "s", "^")[place % 3])
        for place, family in enumerate(families)
    ]
    panel.legend(handles=handles, loc="upper right")


def _ended(arm: Arm) -> str:
    return f"{title(arm.method)}, {ablation.end_of(arm)}" if arm.method == BEST_OF_N else title(arm.method)
