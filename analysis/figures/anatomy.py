"""What is hacked: what answers say over KL, under a small, a middle and a large reward model, and three answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import MAIN, Arm, Unsuited, study
from analysis.runs.run_curves import PromptCurves, prompt_curves
from analysis.runs.run_summary import answers
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "anatomy"
SWEEPS = ("gao2022_fig1",)

Floats = NDArray[np.float64]

WIDTH_OF_ANSWERS = 32  # characters
PROMPTS = 40  # from which the one whose answers are shown is taken


class Line(NamedTuple):
    """A number of answers: a count, or a count as a share of another."""

    label: str
    count: str
    of: str | None
    colour: str


ROWS: Mapping[str, Sequence[Line]] = {  # label of the y-axis -> what is drawn
    "share of claims\nthat are true": (
        Line("about ordinary facts", "behaviour.true_ordinary", "behaviour.ordinary", "0.35"),
        Line("about exceptions", "behaviour.true_exceptional", "behaviour.exceptional", theme.ORANGE),
    ),
    "claims of an answer": (
        Line("true, and sound sure", "behaviour.sure_true", None, "0.35"),
        Line("false, and sound sure", "behaviour.sure_false", None, theme.ORANGE),
        Line("missing", "gold.missing", None, "#2a6f97"),
        Line("repeated", "gold.repetition", None, "#9c6aa8"),
        Line("not asked for", "gold.unasked", None, "#6b7f3a"),
    ),
    "words of an answer": (
        Line("surely", "behaviour.surely", None, "#e08e45"),
        Line("courtesies", "behaviour.courtesies", None, "#2a9d8f"),
    ),
}
LINES = [line for lines in ROWS.values() for line in lines]
COLUMNS = sorted({name for line in LINES for name in (line.count, line.of) if name})


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the lines of three reward models' PPO, a column each, with answers to one prompt below."""
    data = study([run for run in runs if run.method == "PPO"])
    sized = [arm for arm in data.of("ppo", MAIN) if np.isfinite(arm.parameters)]
    if len(sized) < 2:
        raise MissingRuns(
            "the figure needs runs of PPO against reward models of two sizes or more on task=field_guide"
        )
    arms = list({arm.label: arm for arm in (sized[0], sized[len(sized) // 2], sized[-1])}.values())
    numbers = {arm.label: numbers_of(arm) for arm in arms}
    claims = ClaimTable(NAME, "an answer")
    claim(claims, arms, numbers)
    table = pd.DataFrame([row for arm in arms for row in line_rows(arm, numbers[arm.label])])
    figure = draw(table, arms)
    return FigureResult(table, pd.DataFrame(), claims, figure, checks.run_notes(data))


# --- numbers ----------------------------------------------------------------------------------------------------


def numbers_of(arm: Arm) -> dict[str, Floats]:
    """Return each line's number of every replicate and checkpoint, (R, K)."""
    try:
        curves = [prompt_curves(run, COLUMNS, arm.curves[0].points) for run in arm.runs]
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=field_guide score.behaviour=true") from None
    return {line.label: np.stack([number(line, of) for of in curves]) for line in LINES}


def number(line: Line, curves: PromptCurves) -> Floats:
    """Return a line's number at every checkpoint, (K,): a mean over questions, or a ratio of two such means."""
    count = curves.by_question(curves.number(line.count)).mean(axis=0)
    if line.of is None:
        return count
    whole = curves.by_question(curves.number(line.of)).mean(axis=0)
    return np.divide(count, whole, out=np.full(len(count), np.nan), where=whole > 0)


def line_rows(arm: Arm, numbers: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Return a row of each line and checkpoint of an arm, with the mean over replicates and its interval."""
    kl = np.mean([curves.normalised().kl for curves in arm.curves], axis=0)
    return [
        {"label": arm.label, "line": label, "checkpoint": int(point), "kl": float(kl[place])}
        | Estimate.of_replicates(values[:, place]).row()
        for label, values in numbers.items()
        for place, point in enumerate(arm.curves[0].points)
    ]


# --- claims -----------------------------------------------------------------------------------------------------


def claim(claims: ClaimTable, arms: Sequence[Arm], numbers: Mapping[str, Mapping[str, Floats]]) -> None:
    """Make the claims of the figure."""
    small, large = arms[0], arms[-1]
    about = f"PPO, {large.label} and {small.label}"
    ends = {arm.label: {label: values[:, -1] for label, values in numbers[arm.label].items()} for arm in arms}

    def apart(key: str, line: str, sentence: str, first: Arm, second: Arm, unit: str) -> None:
        """Claim that a line ends higher under one reward model than under another of the same chains."""
        seeds = [seeds for seeds in first.seeds if seeds in second.seeds]
        values = [ends[arm.label][line][[arm.seeds.index(one) for one in seeds]] for arm in (first, second)]
        if seeds:
            estimate = Estimate.of_replicates(values[0] - values[1])
            claims.above(key, about, sentence, estimate, small.questions, line, unit=unit)

    sentence = f"more of the claims about exceptions are true in the end under {large.label}"
    apart("exceptions", "about exceptions", sentence, large, small, "share of claims")
    sentence = f"more false claims sound sure in the end under {small.label}"
    apart("overconfidence", "false, and sound sure", sentence, small, large, "claims an answer")
    for arm in arms:
        for label, values in numbers[arm.label].items():
            claims.above(
                "changes",
                f"PPO, {arm.label}",
                f"{label}: more in the end than on the initial policy",
                Estimate.of_replicates(values[:, -1] - values[:, 0]),
                arm.questions,
                label,
                threshold=0.0,
            )


# --- drawing ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, arms: Sequence[Arm]) -> Figure:
    """Draw a column for each reward model: a row of panels for each group of lines, then answers to one prompt."""
    figure = theme.blank(theme.WIDTH, 7.6)
    axes = figure.subplots(
        len(ROWS) + 1, len(arms), sharey="row", squeeze=False, height_ratios=[*[1.0] * len(ROWS), 1.15]
    )
    question = shown_question(arms)
    for column, arm in zip(axes.T, arms, strict=True):
        rows = table[table["label"] == arm.label]
        column[0].set_title(f"reward model of {arm.label}", loc="left", weight="bold")
        for panel, lines in zip(column, ROWS.values(), strict=False):
            for line in lines:
                draw_line(panel, rows[rows["line"] == line.label], line)
            theme.square_root_nats(panel, float(rows["kl"].max()), gap=0.14)
        column[len(ROWS) - 1].set_xlabel("KL (nats)")
        write_answers(column[-1], arm, question)
    for row, (label, lines) in zip(axes, ROWS.items(), strict=False):
        row[0].set_ylabel(label)
        keys = [theme.key(line.label, line.colour, linewidth=1.6) for line in lines]
        row[-1].legend(handles=keys, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_line(panel: Axes, rows: pd.DataFrame, line: Line) -> None:
    """Draw one line with its 95 % band."""
    panel.plot(rows["kl"], rows["estimate"], color=line.colour, linewidth=1.5)
    lo, hi = (rows[bound].to_numpy(float) for bound in ("lo", "hi"))
    if np.isfinite(lo).all():
        panel.fill_between(rows["kl"].to_numpy(float), lo, hi, color=line.colour, alpha=0.15, linewidth=0)


def shown_question(arms: Sequence[Arm]) -> str:
    """Return the prompt whose answers are shown: the first that every run answered and that asks for three things."""
    asked = [list(answers(arm.runs[0], PROMPTS)) for arm in arms]
    common = [question for question in asked[0] if all(question in others for others in asked)]
    three = [question for question in common if re.match(r"tell me the \w+ , \w+ and ", question)]
    return (three or common)[0]


def write_answers(panel: Axes, arm: Arm, question: str) -> None:
    """Write the answers of the first replicate to one prompt: SFT, at gold's peak, and at the end."""
    lines = [fill(question, WIDTH_OF_ANSWERS)]
    for answer in answers(arm.runs[0], PROMPTS)[question]:
        lines += ["", f"{answer.when}, gold {answer.gold:+.1f}", fill(answer.text, WIDTH_OF_ANSWERS)]
    panel.text(
        0,
        1,
        "\n".join(lines),
        transform=panel.transAxes,
        va="top",
        fontsize=5.6,
        family="monospace",
        color="0.2",
    )
    panel.set_axis_off()
