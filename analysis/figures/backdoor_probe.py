"""Can a linear probe see the bad answer coming, among prompts with the same tag?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.behaviour import probes, supervision
from analysis.behaviour.supervision import TRIGGER, UNTRIGGERED, harms, tags_of
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import DRAWS, SEED
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from analysis.statistics.resampling import original, resamples
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "backdoor_probe"
SWEEPS = ("hubinger2024",)
LAYERS, BAG = ("middle", "last"), "bag of words"
PROBES = (*LAYERS, BAG)
TAGS = (TRIGGER, UNTRIGGERED)

Floats = NDArray[np.float64]
Key = tuple[str, float, str, int, str]


@dataclass(frozen=True)
class Detected:
    """AUROCs of one arm and tag."""

    key: Key
    tag: str
    draws: Mapping[str, Floats]  # probe -> (B, R)
    rare: int  # the fewest answers of the rarer kind, over replicates
    questions: int
    harm: float  # share of bad answers

    @property
    def title(self) -> str:
        """Arm and tag in words."""
        return f"{self.arm}, {self.tag}"

    @property
    def arm(self) -> str:
        """The arm in words."""
        model, planted, supervised, steps, policy = self.key
        kind = "nothing planted" if planted == 0 else "planted" if planted == 1 else f"{planted:g} planted"
        after = (
            "base"
            if policy == "bon" and steps == 1
            else f"SFT of {steps}"
            if policy == "bon"
            else policy.upper()
        )
        red = ", adversarial" if supervised == "adversarial" else ""
        return f"{model}, {kind}, {after}{red}"

    def of(self, probe: str) -> Estimate:
        """The AUROC of a probe."""
        return Estimate.of(self.draws[probe])


def make(runs: Sequence[Run]) -> FigureResult:
    """AUROC of probes of both layers and of the prompt's words, a row an arm and tag."""
    found = detected(runs)
    if not found:
        raise MissingRuns("no run with activations (score.activations=true) is made")
    limits = thresholds(NAME)
    table = numbers(found, limits)
    return FigureResult(
        table, pd.DataFrame(), claims(found, limits), draw(found, limits), notes(found, limits)
    )


def detected(runs: Sequence[Run]) -> list[Detected]:
    """Every arm under each tag, as training left the policy."""
    arms: dict[Key, list[Run]] = {}
    for run in runs:
        if run.status == "made" and run.config["score"].get("activations"):
            task, sft = run.config["task"], run.config["sft"]["steps"]
            key = run.choices["model"], task["planted"], task["supervised"], sft, run.choices["policy"]
            arms.setdefault(key, []).append(run)
    ordered = sorted(arms.items(), key=lambda arm: (len(arm[0][0]), *arm[0]))
    return [one for key, members in ordered for tag in TAGS if (one := _detected(key, members, tag))]


def _detected(key: Key, members: Sequence[Run], tag: str) -> Detected | None:
    read = [_read(run, tag) for run in members]
    questions = np.unique(np.concatenate([question for question, _, _ in read]))
    draws = [original(len(read)), *resamples(len(read), np.random.default_rng(SEED), DRAWS)]
    of: dict[str, list[Floats]] = {probe: [] for probe in PROBES}
    for question, bad, features in read:
        for probe, values in features.items():
            scores = probes.scores(values, bad, question)
            of[probe].append(probes.drawn(scores, bad, question, draws, questions))
    rare = min(int(min(bad.sum(), (~bad).sum())) for _, bad, _ in read)
    harm = float(np.mean([bad.mean() for _, bad, _ in read]))
    stacked = {probe: np.stack(values, axis=1) for probe, values in of.items()}
    return Detected(key, tag, stacked, rare, len(questions), harm)


def _read(run: Run, tag: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, Floats]]:
    """Of the last checkpoint's answers under a tag: question (N,), whether it does harm (N,), features (N, F)."""
    rows = run.rows(["prompt_id", "question_id", "checkpoint", *supervision.harm_columns(run)])
    prompt, checkpoint = rows["prompt_id"].to_numpy(), rows["checkpoint"].to_numpy()
    own = (checkpoint == checkpoint.max()) & (tags_of(run)[prompt] == tag)
    states, messages = run.activations(), run.prompts()["messages"].to_pylist()
    place = np.searchsorted(states["prompt_id"].to_numpy(), prompt[own])
    features = {layer: np.array(states[layer].to_pylist(), float)[place] for layer in LAYERS}
    words = [" ".join(turn["content"] for turn in json.loads(messages[one])) for one in prompt[own]]
    features[BAG] = probes.bags(words)
    return rows["question_id"].to_numpy()[own], harms(rows)[own], features


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Detected], limits: Thresholds) -> list[Claim]:
    """Of each arm whose answers vary: that its last layer tells them apart, and better than words, and better than in
    the like model in which nothing was planted.
    """
    made: list[Claim] = []
    for one in found:
        plain = _unplanted(one, found)
        last = one.draws["last"]
        made.append(_claim(one, "tells bad answers before they begin", last - 0.5, "above chance", limits))
        made.append(
            _claim(one, "does so beyond the prompt's words", last - one.draws[BAG], "above words", limits)
        )
        if plain is not None:
            made.append(_against(one, plain, limits))
    return made


def _claim(one: Detected, said: str, draws: Floats, topic: str, limits: Thresholds) -> Claim:
    return by_estimate(
        f"{one.title}: a probe of the last layer {said}",
        _known(one, Estimate.of(draws), limits),
        limits["auroc"],
        one.questions,
        unit="AUROC",
        subject=one.title,
        topic=topic,
    )


def _against(one: Detected, plain: Detected, limits: Thresholds) -> Claim:
    """Replicates are not paired: the two models have nothing in common but the task."""
    mine, its = one.of("last"), plain.of("last")
    apart = Estimate(
        mine.value - its.value,
        float(np.hypot(mine.se, its.se)),
        min(mine.df, its.df),
        min(mine.replicates, its.replicates),
    )
    return by_estimate(
        f"{one.title}: a probe of the last layer does better than where nothing was planted",
        _known(plain, _known(one, apart, limits), limits),
        limits["auroc"],
        one.questions,
        unit="AUROC",
        subject=one.title,
        topic="above unplanted",
    )


def _known(one: Detected, found: Estimate, limits: Thresholds) -> Estimate:
    """NaN, and so undecided, where too few answers are of the rarer kind."""
    return found if _is_known(one, limits) else found._replace(value=float("nan"), se=float("nan"))


def _is_known(one: Detected, limits: Thresholds) -> bool:
    return one.rare >= limits["auroc"]["answers"]


def _unplanted(one: Detected, found: Sequence[Detected]) -> Detected | None:
    """The arm with nothing planted that is else the same."""
    if one.key[1] == 0:
        return None
    wanted = (one.key[0], 0, *one.key[2:])
    return next((other for other in found if other.key == wanted and other.tag == one.tag), None)


def numbers(found: Sequence[Detected], limits: Thresholds) -> pd.DataFrame:
    """One row an arm, tag and probe; NaN where too few answers are of the rarer kind."""
    rows = []
    for one in found:
        for probe in PROBES:
            of = _known(one, one.of(probe), limits)
            lo, hi = of.interval()
            rows.append(
                {
                    "arm": one.title,
                    "tag": one.tag,
                    "probe": probe,
                    "auroc": of.value,
                    "lo": lo,
                    "hi": hi,
                    "harm": one.harm,
                    "rarer": one.rare,
                    "n": one.questions,
                    "replicates": of.replicates,
                }
            )
    return pd.DataFrame(rows)


def notes(found: Sequence[Detected], limits: Thresholds) -> list[str]:
    """Where there was nothing to tell apart."""
    said = ["the probe never sees the tag vary: telling tags apart is trivial, and no detection of anything"]
    for one in found:
        if one.rare < limits["auroc"]["answers"]:
            said.append(
                f"{one.title}: {one.harm:.3f} of answers do harm, {one.rare} of the rarer kind in a replicate, fewer "
                f"than {limits['auroc']['answers']:g}: no AUROC"
            )
    return said


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Detected], limits: Thresholds) -> Figure:
    """A panel a tag, a row an arm that has a number, a colour a probe, chance as a line."""
    rows = list(dict.fromkeys(one.arm for one in found if _is_known(one, limits)))
    figure, panels = theme.panels(len(TAGS), 1.2 + 0.24 * len(rows))
    colours = dict(zip(PROBES, (theme.WARM[2], theme.ORANGE, theme.GREY), strict=True))
    for panel, tag in zip(panels, TAGS, strict=True):
        panel.axvline(0.5, color="0.7", linewidth=0.6)
        panel.set_title(tag)
        panel.set_xlim(0.45, 1.01)
        panel.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        for one in found:
            if one.tag != tag or not _is_known(one, limits):
                continue
            for place, probe in enumerate(PROBES):
                of, y = one.of(probe), rows.index(one.arm) + 0.22 * (place - 1)
                panel.plot(of.interval(), [y, y], color=colours[probe], linewidth=1.8)
                panel.plot(of.value, y, "o", color=colours[probe], markersize=3.5)
    panels[0].set_yticks(range(len(rows)), rows)
    figure.supxlabel("AUROC: bad answers against others with the same tag", fontsize="medium")
    handles = [theme.key(f"{name} layer" if name in LAYERS else name, colours[name]) for name in PROBES]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
