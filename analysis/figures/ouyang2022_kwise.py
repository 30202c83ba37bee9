"""Reward models on rankings of K answers, read whole or as shuffled pairs (2203.02155, section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.heldout import Group, group
from analysis.runs import ablation, checks
from analysis.runs.arms import Arm, Study, study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "ouyang2022_kwise"
SWEEPS = ("ouyang2022_kwise",)

NATS = "nats a pair"
TWO = 2  # answers, of which whole rankings and shuffled pairs are the same


class Way(NamedTuple):
    """A way to learn from comparisons."""

    answers: int  # to each prompt
    shuffled: bool
    epochs: int

    @property
    def title(self) -> str:
        """In words."""
        read = "" if self.answers == TWO else ", shuffled" if self.shuffled else ", whole"
        return f"K = {self.answers}{read}, {self.epochs} epoch{'s' * (self.epochs > 1)}"


class Learned(NamedTuple):
    """What came of it."""

    judged: Group
    arm: Arm  # best-of-n against it

    @property
    def gold(self) -> Estimate:
        """At the largest n less that of SFT, SDs."""
        gold = [curves.values["gold"] for curves in self.arm.drawn.replicates]
        return Estimate.of(np.stack([one[:, -1] for one in gold], axis=1))


Found = Mapping[Way, Learned]


def make(runs: Sequence[Run]) -> FigureResult:
    """Held-out accuracy and log-loss and gold of best-of-n, over answers, reading and epochs."""
    read = studies([run for run in runs if run.method == "BestOfN"])
    found = {way(arm.runs[0]): Learned(group(arm.runs), arm) for one in read.values() for arm in one.arms}
    found = dict(sorted(found.items()))
    if not any(one.shuffled for one in found):
        raise MissingRuns("no best-of-n run against a reward model on shuffled pairs of rankings is made")
    table = pd.concat([points_table(one).assign(epochs=epochs) for epochs, one in read.items()])
    notes = [
        *_notes(found),
        *checks.kl_bound_notes(Study(tuple(arm for one in read.values() for arm in one.arms))),
    ]
    return FigureResult(table, fits_table(found), claims(found, thresholds(NAME)), draw(found), notes)


def studies(runs: Sequence[Run]) -> dict[int, Study]:
    """Epochs -> the runs of reward models that learned for so long."""
    epochs = sorted({run.config["rm"]["epochs"] for run in runs if run.status == "made"})
    return {one: study([run for run in runs if run.config["rm"]["epochs"] == one]) for one in epochs}


def way(run: Run) -> Way:
    """How a run's reward model learned."""
    answers, rm = run.config["preferences"]["answers"], run.config["rm"]
    return Way(answers, answers > TWO and rm["rankings"] == "shuffled", rm["epochs"])


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Found, limits: Thresholds) -> list[Claim]:
    """Whole rankings against shuffled pairs of the same comparisons, then pairs of more prompts against rankings."""
    made: list[Claim] = []
    for one, learned in found.items():
        shuffled, pairs = found.get(one._replace(shuffled=True)), found.get(Way(TWO, False, one.epochs))
        if one.shuffled or one.answers == TWO:
            continue
        if shuffled is not None:
            made += _lower_loss(
                *(one, shuffled, learned, "shuffled pairs", "below shuffled"), limits["whole_is_better"]
            )
            end = ablation.versus(learned.arm, shuffled.arm).end
            made.append(
                by_estimate(
                    f"{one.title}: more gold than from shuffled pairs at {ablation.end_of(learned.arm)}",
                    *(end, limits["above_at_end"], learned.arm.questions),
                    unit=GOLD_SDS,
                    subject=one.title,
                    topic="more gold than shuffled",
                )
            )
        if pairs is not None:
            made += _lower_loss(
                *(one, learned, pairs, "as many pairs of more prompts", "above pairs"),
                limits["prompts_are_better"],
            )
    return made


def _lower_loss(
    one: Way, worse: Learned, better: Learned, other: str, topic: str, rule: Mapping[str, float]
) -> list[Claim]:
    """That the first of two has the higher log-loss."""
    found = worse.judged.less(better.judged, "log_loss")
    if found is None:
        return []
    place = "below" if topic.startswith("below") else "above"
    return [
        by_estimate(
            f"{one.title}: held-out log-loss {place} that of {other}",
            *(found, rule, better.arm.questions),
            unit=NATS,
            subject=one.title,
            topic=f"log-loss {topic}",
        )
    ]


# --- tables -------------------------------------------------------------------------------------------------


def numbers(one: Learned) -> dict[str, Estimate]:
    """What is drawn of a way to learn."""
    return {
        "held-out log-loss": one.judged.estimate("log_loss"),
        "held-out accuracy": one.judged.estimate("accuracy"),
        "gold at the largest n": one.gold,
    }


def trained_loss(one: Learned) -> float:
    """Training log-loss at the end, a mean over replicates; nats a pair."""
    return float(np.mean([of.training_loss for of in one.judged.replicates.values()]))


def fits_table(found: Found) -> pd.DataFrame:
    """One row a way and number, with 95 % intervals, and the loss at the end of training."""
    rows: list[dict[str, Any]] = []
    for one, learned in found.items():
        first = next(iter(learned.judged.replicates.values()))
        about = {"method": learned.arm.method, "rm": learned.arm.rm, "label": one.title, "form": "rankings"}
        about |= {"answers": one.answers, "shuffled": one.shuffled, "epochs": one.epochs}
        about |= {"pairs": first.trained, "prompts": first.prompts, "n": learned.arm.questions}
        about |= {"replicates": len(learned.judged.replicates)}
        for name, of in numbers(learned).items():
            rows.append(about | {"parameter": name} | of.row())
        rows.append(about | {"parameter": "training log-loss", "estimate": trained_loss(learned)})
    return pd.DataFrame(rows)


def _notes(found: Found) -> list[str]:
    """How many pairs and prompts each K has; both sides of what is contested."""
    counts = {}
    for one, learned in found.items():
        first = next(iter(learned.judged.replicates.values()))
        counts[one.answers] = f"K = {one.answers}: {first.trained:,} pairs of {first.prompts:,} prompts"
    measured = [
        f"{one.title} {of.value:.3f} held out, {trained_loss(learned):.3f} in training"
        for one, learned in found.items()
        for of in [learned.judged.estimate("log_loss")]
    ]
    return [
        f"rankings are whole, so that their pairs are a little fewer than were asked for: {'; '.join(counts.values())}",
        "is one ranking of K answers worth its pairs? Ouyang et al. 2022 rank 4 to 9 answers to get more pairs from a "
        "labelled prompt; here all have as many pairs, and rankings have fewer prompts",
        f"log-loss, nats a pair: {'; '.join(measured)} (training: its last half epoch, new pairs in a first)",
    ]


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Found) -> Figure:
    """A panel a number: K and reading down, a colour an epoch count; open squares are the training loss."""
    epochs = sorted({one.epochs for one in found})
    colour = dict(zip(epochs, theme.sizes(len(epochs)), strict=True))
    rows = sorted({(one.answers, one.shuffled) for one in found})
    names = list(numbers(next(iter(found.values()))))
    figure, axes = theme.panels(len(names), 2.6, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        for one, learned in found.items():
            y = rows.index((one.answers, one.shuffled)) + 0.18 * (
                epochs.index(one.epochs) - (len(epochs) - 1) / 2
            )
            _draw_dot(panel, y, numbers(learned)[name], colour[one.epochs])
            if name == "held-out log-loss":
                look = {"markerfacecolor": "none", "markersize": 3.5, "markeredgewidth": 0.8}
                panel.plot(trained_loss(learned), y, "s", color=colour[one.epochs], **look)
        panel.set_xlabel(
            {"held-out log-loss": "log-loss (nats a pair)"}.get(name, name.replace(" at", "\nat"))
        )
    axes[0].set_yticks(range(len(rows)), [_row_title(*row) for row in rows])
    axes[0].invert_yaxis()
    handles = [theme.key(f"{one} epoch{'s' * (one > 1)}", colour[one], marker="o") for one in epochs]
    handles.append(theme.key("in training, at its end", marker="s", markerfacecolor="none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _row_title(answers: int, shuffled: bool) -> str:
    return Way(answers, shuffled, 0).title.rpartition(", ")[0]


def _draw_dot(panel: Axes, y: float, of: Estimate, colour: Any) -> None:
    panel.plot(of.interval(), [y, y], color=colour, linewidth=1.6)
    panel.plot(of.value, y, "o", color=colour, markersize=4, markeredgecolor="white")
