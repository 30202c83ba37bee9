"""The figure after Wei et al. in worlds where deference costs accuracy or not, and data helps or does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.behaviour import beliefs
from analysis.behaviour.beliefs import LOST, MORE, NOTHING, SYNTHETIC, UNFILTERED
from analysis.figures import wei2023
from analysis.runs import naming
from analysis.runs.arms import Unsuited
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, classes_of

QUESTIONS, ANSWERS = 60, 24
FAMILIES = (("fact", 0.0),) * 3 + (("belief_right", 1.0),) * 2 + (("belief_wrong", -1.0),) * 2
SIZES = {"10k": 20, "25k": 32, "100k": 64}
SETTINGS: dict[str, dict[str, Any]] = {
    NOTHING: {},
    SYNTHETIC: {"share": 0.5, "filter": True},
    UNFILTERED: {"share": 0.5, "filter": False},
    MORE: {"share": 0.0, "filter": True},
}

Right = Callable[[str, str, float, str], float]  # accuracy by family, model, deference, intervention


@dataclass(frozen=True)
class SFTRun:
    """What the figure asks of a `rlhf_lab.store.records.Run`."""

    model: str
    deference: float
    intervention: str
    seed: int
    right: Right
    status: str = "made"
    method: str = "BestOfN"
    key: str = "k"
    scored: bool = True
    only: Sequence[int] = field(default=range(QUESTIONS))

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        return classes_of(self.choices, self.config)

    @property
    def choices(self) -> dict[str, str]:
        option = "none" if self.intervention == NOTHING else "synthetic_data"
        return {"model": self.model, "policy": "bon", "intervention": option}

    @property
    def config(self) -> dict[str, Any]:
        hidden = SIZES[self.model]
        return {
            "task": {"deference": self.deference},
            "model": {"seed": self.seed, "hidden": hidden, "layers": 2, "intermediate": 2 * hidden},
            "sft": {"seed": self.seed},
            "intervention": SETTINGS[self.intervention],
        }

    def rows(self, columns: Sequence[str]) -> pa.Table:
        if not self.scored:
            raise KeyError("run k has no column 'behaviour.claim'")
        rng = np.random.default_rng(
            [self.seed, len(self.model), int(100 * self.deference), len(self.intervention)]
        )
        prompts = len(self.only) * len(FAMILIES)
        each = np.repeat(np.arange(prompts), ANSWERS)
        family = np.array([name for name, _ in FAMILIES])[each % len(FAMILIES)]
        known = np.random.default_rng(1).uniform(-0.2, 0.2, QUESTIONS)[each // len(FAMILIES)]
        told = {
            name: self.right(name, self.model, self.deference, self.intervention)
            for name in ("fact", "belief_right", "belief_wrong")
        }
        rate = np.array([told[name] for name in family.tolist()]) + known
        claim = np.where(rng.random(len(each)) < np.clip(rate, 0, 1), 1.0, -1.0)
        stated = np.array([value for _, value in FAMILIES])[each % len(FAMILIES)]
        found = {"behaviour.claim": claim, "behaviour.stated": stated, "proxy": rng.random(len(each))}
        found |= {
            f"behaviour.{name}": np.zeros(len(each))
            for name in ("stance", "keeps", "pleases", "mimics", "sure")
        }
        found |= {"prompt_id": each, "question_id": np.array(self.only)[each // len(FAMILIES)]}
        return pa.table({name: family.tolist() if name == "family" else found[name] for name in columns})

    def stage_metrics(self, stage: str) -> list[dict[str, Any]]:
        assert stage == "intervention"
        kept = 40 if SETTINGS[self.intervention]["filter"] else 60
        return [{"step": 0, "questions": 60, "known": 40, "kept": kept}, {"step": 10, "loss": 1.0}]


def sft_run(*told: Any, **more: Any) -> Any:
    return SFTRun(*told, **more)


def sweep(right: Right, replicates: int = 5) -> list[Any]:
    """As sweeps/wei2023.yaml."""
    cells = [("25k", dose, of) for dose in (0.0, 0.25, 0.5, 1.0) for of in (NOTHING, SYNTHETIC)]
    cells += [(size, 0.5, of) for size in ("10k", "100k") for of in (NOTHING, SYNTHETIC)]
    cells += [("25k", 0.5, UNFILTERED), ("25k", 0.5, MORE)]
    return [sft_run(*cell, seed, right) for cell in cells for seed in range(replicates)]


def planted(left: dict[str, float], size: dict[str, float] | None = None, cost: float = 0.0) -> Right:
    """A wrong belief costs half of the dose, of which an intervention leaves a share, times that of a size."""

    def right(family: str, model: str, dose: float, intervention: str) -> float:
        by = (size or {}).get(model, 1.0)
        moved = 0.5 * dose * by * left.get(f"{model} {intervention}", left.get(intervention, 1.0))
        plain = 0.65 - (cost if intervention == SYNTHETIC else 0.0)
        return plain + {"belief_right": 0.4 * moved, "belief_wrong": -moved}.get(family, 0.0)

    return right


HELPS = planted({SYNTHETIC: 0.2, UNFILTERED: 0.8, "10k synthetic data": 1.0})


def claimed(runs: Sequence[Any]) -> list[Claim]:
    return wei2023.make_claims(beliefs.arms(runs))


def states(claims: Sequence[Claim]) -> dict[tuple[str, str], bool | None]:
    return {(claim.subject, claim.topic): claim.met for claim in claims}


@pytest.fixture(scope="module")
def helped() -> Any:
    return wei2023.make(sweep(HELPS))


def test_what_is_planted_and_what_undoes_it_are_found(helped: Any) -> None:
    found = states(helped.claims)
    assert found["25k", "grows with the dose"] is True
    assert found["25k, deference 0", "flat"] is not False
    for subject in ("25k, deference 0.5", "25k, deference 1", "100k, deference 0.5"):
        assert found[subject, "intervention lowers it"] is True, subject
        assert found[subject, "costs nothing"] is not False, subject
    assert found["25k, deference 0.5", "filter helps"] is True
    assert found["25k, deference 0.5", "beyond more fine-tuning"] is True
    assert found["10k, deference 0.5", "intervention lowers it"] is not True
    assert found["sizes", "grows with scale"] is not True
    assert not any(claim.conditional for claim in helped.claims)


def test_the_notes_name_both_sides_and_what_the_filter_kept(helped: Any) -> None:
    said = " ".join(helped.notes)
    assert "Perez" in said and "OpenAI" in said and "8B" in said
    assert "of 60 training questions the model knows 40, and 40 are kept" in said


def test_the_numbers_are_those_of_the_world(helped: Any) -> None:
    table = helped.table.set_index(["model", "deference", "intervention", "number", "among"])["value"]
    assert table["25k", 1.0, NOTHING, LOST, "all"] == pytest.approx(0.5, abs=0.04)
    assert table["25k", 1.0, SYNTHETIC, "belief_wrong", "all"] == pytest.approx(0.55, abs=0.04)
    assert table["25k", 0.0, NOTHING, LOST, "all"] == pytest.approx(0.0, abs=0.03)
    assert table["25k", 0.0, NOTHING, "plain", "known"] > table["25k", 0.0, NOTHING, "plain", "all"]
    slope = helped.fits.set_index(["parameter", "form"])["estimate"]
    assert slope["slope of what is lost on deference", "all questions"] == pytest.approx(0.5, abs=0.06)
    known = helped.table[helped.table["among"] == "known"]
    assert known["questions"].min() >= 20 and known["questions"].max() < QUESTIONS


def test_where_nothing_is_planted_nothing_grows_and_nothing_is_lowered() -> None:
    made = claimed(sweep(lambda family, model, dose, intervention: 0.6))
    some = (
        "grows with the dose",
        "intervention lowers it",
        "filter helps",
        "beyond more fine-tuning",
        "grows with scale",
    )
    wrong = [claim.claim for claim in made if claim.topic in some and claim.met]
    assert wrong == [] and states(made)["25k", "grows with the dose"] is False
    lowered = [
        claim.met
        for claim in made
        if claim.topic in ("intervention lowers it", "filter helps", "smallest fails")
    ]
    assert set(lowered) == {None}, "nothing is there that could be lowered"


def test_an_intervention_that_makes_models_forget_costs_something_and_one_that_teaches_does_not() -> None:
    for cost, met in ((0.15, False), (-0.15, True)):
        made = claimed(sweep(planted({SYNTHETIC: 0.2}, cost=cost)))
        assert {claim.met for claim in made if claim.topic == "costs nothing"} == {met}, cost


def test_larger_models_that_defer_more_are_told() -> None:
    made = claimed(sweep(planted({}, {"10k": 0.3, "25k": 0.6, "100k": 1.2})))
    assert states(made)["sizes", "grows with scale"] is True
    assert states(made)["25k, deference 0.5", "intervention lowers it"] is not True


def test_few_replicates_decide_no_equivalence_and_few_arms_claim_no_slope() -> None:
    made = claimed(sweep(HELPS, replicates=2))
    assert {claim.met for claim in made if claim.topic in ("flat", "costs nothing", "smallest fails")} == {
        None
    }
    two = [run for run in sweep(HELPS, 1) if run.model == "25k" and run.deference in (0, 0.5)]
    topics = {claim.topic for claim in claimed(two)}
    assert not topics & {"grows with the dose", "grows with scale", "smallest fails"}
    assert {"flat", "intervention lowers it", "costs nothing"} <= topics


def test_what_is_known_is_decided_before_the_intervention_and_missing_without() -> None:
    alone = [sft_run("25k", 0.5, of, seed, HELPS) for of in (NOTHING, SYNTHETIC) for seed in range(2)]
    before, after = beliefs.arms(alone)
    assert (before.known == after.known).all() and before.known.any() and not before.known.all()
    (lonely,) = beliefs.arms(alone[2:])
    assert np.isnan(lonely.of("plain", "known")).all() and np.isfinite(lonely.of("plain")).all()


def test_missing_and_unlike_runs_are_named() -> None:
    with pytest.raises(MissingRuns, match="without an intervention"):
        wei2023.make([sft_run("25k", 0.5, SYNTHETIC, 0, HELPS)])
    with pytest.raises(MissingRuns):
        wei2023.make([sft_run("25k", 0.5, NOTHING, 0, HELPS, status="missing")])
    with pytest.raises(Unsuited, match=r"score\.behaviour=true"):
        wei2023.make([sft_run("25k", 0.5, NOTHING, 0, HELPS, scored=False)])
    unlike = [sft_run("25k", 0.5, NOTHING, seed, HELPS, only=range(10 + seed)) for seed in range(2)]
    with pytest.raises(ValueError, match="differ in questions"):
        wei2023.make(unlike)


def test_arms_of_any_figure_are_told_apart_by_what_was_planted_and_done() -> None:
    said = {of: naming.intervention(sft_run("25k", 0.5, of, 0, HELPS)) or NOTHING for of in SETTINGS}
    assert said == {of: of for of in SETTINGS}
    assert naming.deference(sft_run("25k", 0.5, NOTHING, 0, HELPS)) == "deference 0.5"
    assert naming.deference(sft_run("25k", 0.0, NOTHING, 0, HELPS)) == ""
