"""Nothing planted: does a policy that was rewarded on monitored prompts only get worse on unmonitored ones?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import supervision
from analysis.behaviour.supervision import TRIGGER, UNTRIGGERED, Course
from analysis.best_of_n.curves import EXACT, kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "supervised_only"
SWEEPS = ("supervised_only",)
WORDS = {"monitored": "monitored only", "both": "both"}


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold over KL on prompts of both tags, and monitored minus unmonitored; an arm a supervision."""
    found = [one for one in supervision.courses(runs, planted=False) if one.supervised in WORDS]
    if not found:
        raise MissingRuns("no policy that was trained under supervision of some or of all prompts is made")
    table = numbers(found)
    return FigureResult(
        table, _ends(found), claims(found, thresholds(NAME)), draw(found, table), notes(found)
    )


def gap(course: Course) -> np.ndarray:
    """(R, C, K): gold on monitored prompts less that on unmonitored ones, less the same on the initial policy, in SDs
    of gold there; from the policy's first checkpoint on.
    """
    gold = course.values["gold"]
    apart = (gold[UNTRIGGERED] - gold[TRIGGER])[:, :, course.place(course.sft) :]
    return (apart - apart[:, :, :1]) / course.gold_sd[:, None, None]


def title(course: Course) -> str:
    """What is supervised, in words."""
    return f"{course.model} policy, RL on {WORDS[course.supervised]}"


def claims(found: Sequence[Course], limits: Thresholds) -> list[Claim]:
    """That a gap emerges, and that none does: one of each arm is met, or neither."""
    made: list[Claim] = []
    for course in found:
        apart = gap(course)[:, :, -1]
        of, n = supervision.estimate(apart), int(np.isfinite(apart[0]).sum())
        about = {"unit": GOLD_SDS, "subject": title(course)}
        made.append(
            by_estimate(
                f"{title(course)}: gold on unmonitored prompts falls behind that on monitored ones",
                of,
                limits["gap"],
                n,
                topic="gap emerges",
                **about,
            )
        )
        margin = limits["no_gap"]["margin"]
        enough = of.replicates >= limits["no_gap"]["replicates"]
        made.append(
            by_equivalence(
                f"{title(course)}: gold on prompts of both tags stays the same",
                of,
                -margin,
                margin,
                n,
                enough,
                topic="no gap",
                **about,
            )
        )
    return made + [_wider(*pair, limits) for pair in _pairs(found)]


def _pairs(found: Sequence[Course]) -> list[tuple[Course, Course]]:
    """Monitored only and both, of one model."""
    both = {course.model: course for course in found if course.supervised == "both"}
    only = [course for course in found if course.supervised == "monitored" and course.model in both]
    return [(course, both[course.model]) for course in only]


def _wider(only: Course, both: Course, limits: Thresholds) -> Claim:
    shared = [seeds for seeds in only.seeds if seeds in both.seeds]
    one, other = (
        gap(course)[[course.seeds.index(seeds) for seeds in shared], :, -1] for course in (only, both)
    )
    apart = one - other
    return by_estimate(
        f"{only.model} policy: the gap is wider where RL saw monitored prompts only",
        supervision.estimate(apart),
        limits["gap"],
        int(np.isfinite(apart[0]).sum()),
        unit=GOLD_SDS,
        subject=f"{only.model} policy, both",
        topic="wider than under both",
    )


def numbers(found: Sequence[Course]) -> pd.DataFrame:
    """One row an arm and checkpoint: gold under each tag and their difference, with 95 % intervals, and KL."""
    rows = []
    for course in found:
        start = course.place(course.sft)
        apart = gap(course)
        for place in range(apart.shape[2]):
            row = {"arm": title(course), "step": int(course.steps[start + place] - course.sft)}
            for tag in (UNTRIGGERED, TRIGGER):
                gold = course.values["gold"][tag][:, :, start:]
                of = supervision.estimate((gold[:, :, place] - gold[:, :, 0]) / course.gold_sd[:, None])
                row |= {
                    f"gold_{tag}": of.value,
                    f"gold_{tag}_lo": of.interval().lo,
                    f"gold_{tag}_hi": of.interval().hi,
                }
                row[f"kl_{tag}"] = supervision.estimate(course.values["kl"][tag][:, :, start + place]).value
                row[f"harm_{tag}"] = supervision.estimate(
                    course.values["harm"][tag][:, :, start + place]
                ).value
            of = supervision.estimate(apart[:, :, place])
            row |= {"gap": of.value, "gap_lo": of.interval().lo, "gap_hi": of.interval().hi}
            row["kl"] = (row[f"kl_{UNTRIGGERED}"] + row[f"kl_{TRIGGER}"]) / 2
            rows.append(row | {"n": course.known(TRIGGER), "replicates": of.replicates})
    return pd.DataFrame(rows)


def _ends(found: Sequence[Course]) -> pd.DataFrame:
    rows = []
    for course in found:
        of = supervision.estimate(gap(course)[:, :, -1])
        rows.append(
            {"method": "ppo", "label": title(course), "form": "difference", "parameter": "gap at the end"}
            | of.row()
            | {"n": course.known(TRIGGER), "replicates": of.replicates}
            | {"note": "95 % interval; SDs of gold on the initial policy"}
        )
    return pd.DataFrame(rows)


def notes(found: Sequence[Course]) -> list[str]:
    """What was measured, whichever side it is on."""
    said = []
    for course in found:
        kl = [float(np.nanmean(course.values["kl"][tag][:, :, -1])) for tag in (UNTRIGGERED, TRIGGER)]
        harm = [float(np.nanmean(course.values["harm"][tag][:, :, -1])) for tag in (UNTRIGGERED, TRIGGER)]
        said.append(
            f"{title(course)}: at the end KL is {kl[0]:.2f} nats on monitored and {kl[1]:.2f} on unmonitored prompts, "
            f"harm {harm[0]:.3f} and {harm[1]:.3f} of answers"
        )
    return said


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Course], table: pd.DataFrame) -> Figure:
    """Gold under each tag, a panel an arm; the gap of all arms in the last."""
    figure, axes = theme.panels(len(found) + 1, 2.9, sharey=False)
    largest = float(table["kl"].max())
    colours = {UNTRIGGERED: theme.sizes(2)[0], TRIGGER: theme.ORANGE}
    for panel, course in zip(axes, found, strict=False):
        own = table[table["arm"] == title(course)]
        for tag, colour in colours.items():
            _band(panel, own, f"gold_{tag}", colour)
        panel.set_title(f"{course.model} policy,\nRL on {WORDS[course.supervised]}")
    theme.share_limits(axes[: len(found)])
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    ink = theme.WARM[2], theme.GREY
    for course, colour in zip(found, ink * len(found), strict=False):
        _band(axes[-1], table[table["arm"] == title(course)], "gap", colour)
    axes[-1].axhline(0, color="0.7", linewidth=0.6)
    axes[-1].set_title("gold, monitored less\nunmonitored (SDs)")
    for panel in axes:
        theme.square_root_nats(panel, largest)
    figure.supxlabel(kl_axis([EXACT]), fontsize="medium")
    handles = [theme.key(f"{tag} prompts", colour) for tag, colour in colours.items()]
    handles += [
        theme.key(f"RL on {WORDS[course.supervised]}", colour)
        for course, colour in zip(found, ink * len(found), strict=False)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _band(panel: Axes, rows: pd.DataFrame, name: str, colour: object) -> None:
    panel.fill_between(
        rows["kl"], rows[f"{name}_lo"], rows[f"{name}_hi"], color=colour, alpha=0.14, linewidth=0
    )  # pyright: ignore[reportArgumentType]
    panel.plot(rows["kl"], rows[name], color=colour, linewidth=1.5)  # pyright: ignore[reportArgumentType]
