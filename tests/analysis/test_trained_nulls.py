"""Claims about trained policies of which it is known that gold does not turn: controls, in five replicates each."""

from pathlib import Path

import numpy as np
import pytest

from analysis.runs.arms import study
from analysis.runs.gold_lost import split
from analysis.runs.goodhart import claim_parts, parts_of
from analysis.runs.kinds import CONTROL, NOISE, ORACLE, WEIGHT_NOISE
from analysis.runs.turnover_claims import claim_turns
from analysis.statistics.claims import EQUIVALENCE_LEVEL, ClaimTable, equivalent, exceeds, thresholds
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import runs

NULLS = (NOISE, CONTROL, WEIGHT_NOISE)
SETTINGS = (
    "experiment=tiny",
    "replicate=r0,r1,r2,r3,r4",
    "task.entities=12",
    "task.sums=24",
    "task.base_documents=2000",
    "task.demonstrations=2000",
    "model.steps=300",
    "sft.steps=300",
    "policy.prompts=128",
    "policy.samples=4",
)
PPO = "policy=ppo policy.steps=60 policy.rollout=64 policy.evaluations=6 policy.lr=1e-3 policy.warmup=5"
CELLS = (
    f"{PPO} reward=gold,noise",
    f"{PPO} labeler=flip labeler.rate=0.5",
    "policy=weight_noise policy.kls=[0.3,1.0,3.0,8.0]",
)


@pytest.mark.slow
def test_trained_nulls_do_not_turn_and_the_oracle_rises_without_a_drop(lab, tmp_path: Path) -> None:
    """Three and a half minutes of training on one core."""
    cells = ",".join(f'"{cell}"' for cell in CELLS)
    answer = lab("-m", *SETTINGS, f"hydra.sweeper.cells=[{cells}]")
    assert answer.code == 0, answer
    data = study(runs("tiny", tmp_path / "store"))
    arms = {arm.kind: arm for arm in data.arms}
    assert set(arms) == {ORACLE, *NULLS} and {len(arm.runs) for arm in data.arms} == {5}

    for kind in NULLS:
        claims = ClaimTable("gao2022_fig1")
        claim_turns(claims, arms[kind])
        assert [claim.topic for claim in claims].count("gold turns") == 1
        assert not [claim.claim for claim in claims if claim.met is True], kind
    flips = parts_of(data, arms[CONTROL])
    assert flips is not None
    claims = ClaimTable("gao2022_fig1")
    claim_parts(claims, "coin flips", flips, arms[CONTROL].questions)
    assert claims[0].met is not True, claims[0].claim

    limits, half = thresholds("gao2022_fig1")["goodhart"], split(arms[ORACLE])
    gold: np.ndarray = arms[ORACLE].stacked("gold")
    risen = Estimate.of_questions(gold[:, :, -1] - gold[:, :, 0], half)
    assert exceeds(risen.interval(), limits["threshold"]), risen.signed
    drop = turnover(gold, half, end_too=True).fall
    assert equivalent(drop.interval(EQUIVALENCE_LEVEL), -limits["margin"], limits["margin"]), drop.signed
