"""Nothing planted: does a policy that was rewarded on monitored prompts only get worse on unmonitored ones?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour import supervision
from analysis.behaviour.supervision import TRIGGER, UNTRIGGERED, Course
from analysis.best_of_n.curves import EXACT, kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "supervised_only"
SWEEPS = ("supervised_only",)
WORDS = {"monitored": "monitored only", "both": "both"}


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold over KL on prompts of both tags, and monitored minus unmonitored; an arm for each supervision."""
    courses = [course for course in supervision.courses(runs, planted=False) if course.supervised in WORDS]
    if not courses:
        raise MissingRuns("no policy that was trained under supervision of some or of all prompts is made")
    claims = ClaimTable(NAME, GOLD_SDS)
    for course in courses:
        claim_gap(claims, course)
    both = {course.model: course for course in courses if course.supervised == "both"}
    for course in courses:
        if course.supervised == "monitored" and course.model in both:
            claim_wider(claims, course, both[course.model])
    table = numbers(courses)
    ends = [
        estimate_row(
            {"method": "ppo", "label": title(course)},
            "difference",
            "gap at the end",
            supervision.estimate(gap(course)[:, :, -1]),
            course.known(TRIGGER),
            GOLD_SDS,
        )
        for course in courses
    ]
    return FigureResult(table, pd.DataFrame(ends), claims, draw(courses, table), notes(courses))


def gap(course: Course) -> np.ndarray:
    """Return (R, C, K), gold on monitored prompts minus unmonitored ones, less the same on the initial policy.

    It is in SDs of gold on the initial policy, from the policy's first checkpoint on.
    """
    gold = course.values["gold"]
    difference = (gold[UNTRIGGERED] - gold[TRIGGER])[:, :, course.place(course.sft) :]
    return (difference - difference[:, :, :1]) / course.gold_sd[:, None, None]


def title(course: Course) -> str:
    """Return the policy and what is supervised, in words."""
    return f"{course.model} policy, RL on {WORDS[course.supervised]}"


# --- claims -------------------------------------------------------------------------------------------------


def claim_gap(claims: ClaimTable, course: Course) -> None:
    """Claim that a gap emerges, and that none does: at most one of the two is met."""
    at_end = gap(course)[:, :, -1]
    estimate, n, subject = supervision.estimate(at_end), questions_in(at_end), title(course)
    sentence = "gold on unmonitored prompts falls behind gold on monitored ones"
    claims.above("gap", subject, sentence, estimate, n, "gap emerges")
    sentence = "gold on monitored and on unmonitored prompts changes alike"
    claims.equivalent("no_gap", subject, sentence, estimate, n, "no gap")


def claim_wider(claims: ClaimTable, only: Course, both: Course) -> None:
    """Claim that the gap is wider where RL saw monitored prompts only, paired by replicate."""
    shared = [seeds for seeds in only.seeds if seeds in both.seeds]
    first, second = (
        gap(course)[[course.seeds.index(seeds) for seeds in shared], :, -1] for course in (only, both)
    )
    difference = first - second
    claims.above(
        "gap",
        f"{only.model} policy, both",
        "the gap is wider where RL saw monitored prompts only",
        supervision.estimate(difference),
        questions_in(difference),
        "wider than under both",
    )


def questions_in(values: np.ndarray) -> int:
    """Return how many questions of `values` (R, C) have a number."""
    return int(np.isfinite(values[0]).sum())


# --- tables and notes ---------------------------------------------------------------------------------------


def numbers(courses: Sequence[Course]) -> pd.DataFrame:
    """Return a row for each arm and checkpoint: gold under each tag, their difference, KL and harm."""
    rows = []
    for course in courses:
        start, gaps = course.place(course.sft), gap(course)
        for place in range(gaps.shape[2]):
            row: dict[str, Any] = {
                "arm": title(course),
                "step": int(course.steps[start + place] - course.sft),
            }
            for tag in (UNTRIGGERED, TRIGGER):
                values = {name: of_tag[tag][:, :, start + place] for name, of_tag in course.values.items()}
                risen = (values["gold"] - course.values["gold"][tag][:, :, start]) / course.gold_sd[:, None]
                row |= with_bounds(f"gold_{tag}", supervision.estimate(risen))
                row[f"kl_{tag}"] = supervision.estimate(values["kl"]).value
                row[f"harm_{tag}"] = supervision.estimate(values["harm"]).value
            estimate = supervision.estimate(gaps[:, :, place])
            row |= with_bounds("gap", estimate)
            row["kl"] = (row[f"kl_{UNTRIGGERED}"] + row[f"kl_{TRIGGER}"]) / 2
            rows.append(row | {"n": course.known(TRIGGER), "replicates": estimate.replicates})
    return pd.DataFrame(rows)


def with_bounds(name: str, estimate: Estimate) -> dict[str, float]:
    """Return an estimate as the columns `name`, `name_lo` and `name_hi`."""
    lo, hi = estimate.interval()
    return {name: estimate.value, f"{name}_lo": lo, f"{name}_hi": hi}


def notes(courses: Sequence[Course]) -> list[str]:
    """Return KL and harm at the end under both tags."""
    lines = []
    for course in courses:
        kl, harm = (
            [float(np.nanmean(course.values[number][tag][:, :, -1])) for tag in (UNTRIGGERED, TRIGGER)]
            for number in ("kl", "harm")
        )
        lines.append(
            f"{title(course)}: at the end KL is {kl[0]:.2f} nats on monitored and {kl[1]:.2f} on unmonitored prompts, "
            f"harm {harm[0]:.3f} and {harm[1]:.3f} of answers"
        )
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(courses: Sequence[Course], table: pd.DataFrame) -> Figure:
    """Draw gold under each tag, a panel for each arm, and the gap of all arms in the last panel."""
    figure, axes = theme.panels(len(courses) + 1, 2.9, sharey=False)
    *of_arms, gaps = axes
    colours = {UNTRIGGERED: theme.sizes(2)[0], TRIGGER: theme.ORANGE}
    entries = [theme.key(f"{tag} prompts", colour) for tag, colour in colours.items()]
    for panel, course, of_gap in zip(of_arms, courses, cycle((theme.WARM[2], theme.GREY)), strict=False):
        rows = table[table["arm"] == title(course)]
        for tag, colour in colours.items():
            plot.curve(panel, rows, f"gold_{tag}", colour)
        panel.set_title(f"{course.model} policy,\nRL on {WORDS[course.supervised]}")
        plot.curve(gaps, rows, "gap", of_gap)
        entries.append(theme.key(f"RL on {WORDS[course.supervised]}", of_gap))
    theme.share_limits(of_arms)
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    gaps.axhline(0, color="0.7", linewidth=0.6)
    gaps.set_title("gold, monitored less\nunmonitored (SDs)")
    for panel in axes:
        theme.square_root_nats(panel, float(table["kl"].max()))
    figure.supxlabel(kl_axis([EXACT]), fontsize="medium")
    plot.legend(figure, entries, above=True)
    return figure
