"""Reward models on rankings of K answers, read whole or as shuffled pairs (2203.02155, section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.heldout import Group, Heldout, group
from analysis.runs import ablation, checks
from analysis.runs.arms import Arm, Study, arm_by, study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "ouyang2022_kwise"
SWEEPS = ("ouyang2022_kwise",)

NATS = "nats a pair"
TWO = 2  # answers: a whole ranking is then one pair


class Way(NamedTuple):
    """A way to learn from comparisons."""

    answers: int  # to each prompt
    shuffled: bool
    epochs: int

    @property
    def title(self) -> str:
        """The way in words."""
        reading = "" if self.answers == TWO else ", shuffled" if self.shuffled else ", whole"
        return f"K = {self.answers}{reading}, {self.epochs} epoch{'s' * (self.epochs > 1)}"


class Learned(NamedTuple):
    """What came of a way to learn."""

    judged: Group
    arm: Arm  # best-of-n against it

    @property
    def gold(self) -> Estimate:
        """Gold at the largest n minus SFT's, in SDs."""
        gold = [curves.values["gold"][:, -1] for curves in self.arm.drawn.replicates]
        return Estimate.of(np.stack(gold, axis=1))

    @property
    def first(self) -> Heldout:
        """The first replicate: all have as many pairs and prompts."""
        return next(iter(self.judged.replicates.values()))


LearnedBy = Mapping[Way, Learned]


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw held-out accuracy and log-loss, and gold of best-of-n, over answers, reading and epochs."""
    data_of = studies([run for run in runs if run.method == "BestOfN"])
    arms = arm_by((arm for data in data_of.values() for arm in data.arms), lambda arm: way_of(arm.runs[0]))
    learned_by = {way: Learned(group(arm.runs), arm) for way, arm in sorted(arms.items())}
    if not any(way.shuffled for way in learned_by):
        raise MissingRuns("no best-of-n run against a reward model on shuffled pairs of rankings is made")
    claims = ClaimTable(NAME, NATS)
    for way in learned_by:
        claim_rankings(claims, way, learned_by)
    table = pd.concat([points_table(data).assign(epochs=epochs) for epochs, data in data_of.items()])
    all_arms = Study(tuple(arm for data in data_of.values() for arm in data.arms))
    notes = [*counts_and_losses(learned_by), *checks.run_notes(all_arms)]
    return FigureResult(table, fits_table(learned_by), claims, draw(learned_by), notes)


def studies(runs: Sequence[Run]) -> dict[int, Study]:
    """Return the arms of reward models that learned for the same number of epochs, by that number."""
    epochs = sorted({run.config["rm"]["epochs"] for run in runs if run.status == "made"})
    return {count: study([run for run in runs if run.config["rm"]["epochs"] == count]) for count in epochs}


def way_of(run: Run) -> Way:
    """Return how a run's reward model learned."""
    answers, rm = run.config["preferences"]["answers"], run.config["rm"]
    return Way(answers, answers > TWO and rm["rankings"] == "shuffled", rm["epochs"])


# --- claims -------------------------------------------------------------------------------------------------


def claim_rankings(claims: ClaimTable, way: Way, learned_by: LearnedBy) -> None:
    """Claim that whole rankings beat shuffled pairs, and that as many pairs of more prompts beat whole rankings."""
    if way.shuffled or way.answers == TWO:
        return
    learned, subject = learned_by[way], way.title
    shuffled = learned_by.get(way._replace(shuffled=True))
    pairs = learned_by.get(Way(TWO, False, way.epochs))
    if shuffled is not None:
        claim_lower_loss(
            claims,
            "whole_is_better",
            subject,
            "held-out log-loss is below that of shuffled pairs",
            shuffled,
            learned,
            "log-loss below shuffled",
        )
        claims.above(
            "above_at_end",
            subject,
            f"gold at {ablation.end_of(learned.arm)} is higher than from shuffled pairs",
            ablation.versus(learned.arm, shuffled.arm).end,
            learned.arm.questions,
            "more gold than shuffled",
            unit=GOLD_SDS,
        )
    if pairs is not None:
        claim_lower_loss(
            claims,
            "prompts_are_better",
            subject,
            "held-out log-loss is above that of as many pairs of more prompts",
            learned,
            pairs,
            "log-loss above pairs",
        )


def claim_lower_loss(
    claims: ClaimTable, key: str, subject: str, sentence: str, worse: Learned, better: Learned, topic: str
) -> None:
    """Claim that the first of two ways has the higher log-loss."""
    difference = worse.judged.less(better.judged, "log_loss")
    if difference is not None:
        claims.above(key, subject, sentence, difference, better.arm.questions, topic)


# --- tables and notes ---------------------------------------------------------------------------------------


def numbers(learned: Learned) -> dict[str, Estimate]:
    """Return what is drawn of a way to learn."""
    return {
        "held-out log-loss": learned.judged.estimate("log_loss"),
        "held-out accuracy": learned.judged.estimate("accuracy"),
        "gold at the largest n": learned.gold,
    }


def trained_loss(learned: Learned) -> float:
    """Return the log-loss at the end of training, in nats a pair, a mean over replicates."""
    return float(np.mean([heldout.training_loss for heldout in learned.judged.replicates.values()]))


def fits_table(learned_by: LearnedBy) -> pd.DataFrame:
    """Return a row for each way and number, with 95 % intervals, and the loss at the end of training."""
    rows: list[dict[str, Any]] = []
    for way, learned in learned_by.items():
        first, replicates = learned.first, len(learned.judged.replicates)
        counts = {"answers": way.answers, "shuffled": way.shuffled, "epochs": way.epochs}
        counts |= {"pairs": first.trained, "prompts": first.prompts}
        named = {"method": learned.arm.method, "rm": learned.arm.rm, "label": way.title} | counts
        for parameter, estimate in numbers(learned).items():
            row = estimate_row(named, "rankings", parameter, estimate, learned.arm.questions)
            rows.append(row | {"replicates": replicates})
        rows.append(
            named
            | {"form": "rankings", "parameter": "training log-loss", "estimate": trained_loss(learned)}
            | {"n": learned.arm.questions, "replicates": replicates}
        )
    return pd.DataFrame(rows)


def counts_and_losses(learned_by: LearnedBy) -> list[str]:
    """Return notes of how many pairs and prompts each K has, and of what is contested."""
    counts = {
        way.answers: f"K = {way.answers}: {learned.first.trained:,} pairs of {learned.first.prompts:,} prompts"
        for way, learned in learned_by.items()
    }
    measured = [
        f"{way.title} {learned.judged.estimate('log_loss').value:.3f} held out, "
        f"{trained_loss(learned):.3f} in training"
        for way, learned in learned_by.items()
    ]
    return [
        f"rankings are whole, so that their pairs are a little fewer than were asked for: {'; '.join(counts.values())}",
        "is one ranking of K answers worth its pairs? Ouyang et al. 2022 rank 4 to 9 answers to get more pairs from a "
        "labelled prompt; here all have as many pairs, and rankings have fewer prompts",
        f"log-loss, nats a pair: {'; '.join(measured)} (training: its last half epoch, new pairs in a first)",
    ]


# --- drawing ------------------------------------------------------------------------------------------------


def draw(learned_by: LearnedBy) -> Figure:
    """Draw a panel for each number: K and reading down, a colour for each epoch count, squares of training loss."""
    epochs = sorted({way.epochs for way in learned_by})
    colours = dict(zip(epochs, theme.sizes(len(epochs)), strict=True))
    rows = sorted({(way.answers, way.shuffled) for way in learned_by})
    figure, axes = theme.panels(3, 2.6, sharey=True)
    titles = [Way(answers, shuffled, 0).title.rpartition(", ")[0] for answers, shuffled in rows]
    for panel, number in zip(axes, numbers(next(iter(learned_by.values()))), strict=True):
        heights = {
            way: rows.index((way.answers, way.shuffled))
            + 0.18 * (epochs.index(way.epochs) - (len(epochs) - 1) / 2)
            for way in learned_by
        }
        points = [
            (heights[way], numbers(learned)[number], colours[way.epochs])
            for way, learned in learned_by.items()
        ]
        plot.forest(panel, points, titles, zero=number.startswith("gold"))
        if number == "held-out log-loss":
            look: dict[str, Any] = {"markerfacecolor": "none", "markersize": 3.5, "markeredgewidth": 0.8}
            for way, learned in learned_by.items():
                panel.plot(trained_loss(learned), heights[way], "s", color=colours[way.epochs], **look)
        panel.set_xlabel(
            "log-loss (nats a pair)" if number == "held-out log-loss" else number.replace(" at", "\nat")
        )
    entries = [theme.key(f"{count} epoch{'s' * (count > 1)}", colours[count], marker="o") for count in epochs]
    entries.append(theme.key("in training, at its end", marker="s", markerfacecolor="none"))
    plot.legend(figure, entries)
    return figure
