"""Training under constraints on the members' rewards: what it comes to and records, and that it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from composing import experiment
from online import inputs, settings, toy, trained, trainer
from runtime import RUNTIME
from stopped import assert_ends_alike, signalled_at

from rlhf_lab.config.combination import Constrained, Form, Offset, Seeds
from rlhf_lab.config.online import GRPO, PPO, RLOO, Place
from rlhf_lab.functional import multipliers
from rlhf_lab.models import loading
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.scoring.proxy import write_combination
from rlhf_lab.stages import registry
from rlhf_lab.stages.policy.online.setup import Constraints, Setup, load_setup

__all__ = ["inputs"]  # a fixture
LONG = {"steps": 60, "rollout": 32, "minibatches": 1, "lr": 3e-3}
SLOWLY = [pytest.param(method, marks=pytest.mark.slow) for method in (GRPO, RLOO)]
OTHER = 6  # the word that the second member likes
MEMBERS: dict[str, Any] = {"members": 2, "seeds": Seeds.finetune, "offset": Offset.all}


def rule(form: Form = Form.xi, threshold: float = 2.0, **changes: Any) -> Constrained:
    multiplier = {"lr": 1.0, "momentum": 0.1, "limit": 0.5} | changes
    return Constrained(**MEMBERS, form=form, thresholds=[threshold], **multiplier)


def constrained(of: Constrained | None, **changes: Any) -> Setup:
    """Say "good", and another word, so often that the mean of each is at the threshold; without `of`, often."""

    def members(rows: Any, answers: Any) -> np.ndarray:
        return np.array([[answer.count(word) - 0.7 for answer in answers] for word in (tiny.GOOD, OTHER)])

    def mean(rows: Any, answers: Any) -> np.ndarray:
        return members(rows, answers).mean(axis=0).astype(np.float32)

    limits = Constraints(of, members) if of else None
    return replace(toy(mean, **changes), mean=0.0, constraints=limits)


def late(lines: list[dict[str, float]], name: str) -> float:
    """Its mean over the second half of training: policies swing about thresholds."""
    return float(np.mean([line[name] for line in lines[len(lines) // 2 :]]))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "seed"), [(PPO, 0), (GRPO, 1), (RLOO, 2)])
def test_members_are_nearer_to_their_thresholds_than_without(method: Any, seed: int, tmp_path: Path) -> None:
    asked = settings(method, **LONG, kl_coef=0.05, seed=seed)
    free = trained(constrained(None), asked, tmp_path)
    held = trained(constrained(rule()), asked, tmp_path)
    assert max(line["reward"] for line in held) > 1.5, "it comes to its threshold"
    members = [late(held, f"reward.{number}") for number in range(2)]
    assert all(abs(one - 2.0) < abs(late(free, "reward") - 2.0) for one in members), (members, free)


@pytest.mark.slow
def test_a_floor_is_kept_and_what_is_left_goes_to_the_penalty(tmp_path: Path) -> None:
    """Under `mu` members are no further below their thresholds than the penalty alone would leave them."""
    asked = settings(**LONG, kl_coef=1.0)
    free = trained(constrained(None), asked, tmp_path)
    lines = trained(constrained(rule(Form.mu, 1.5, limit=2.0)), asked, tmp_path)
    assert late(lines, "reward") > late(free, "reward") + 0.2, "the floor is above what the penalty leaves"
    weights = [line["multiplier.0"] for line in lines]
    assert weights[0] == pytest.approx(0.5) and weights[5] > 0.5 and all(0 < one < 1 for one in weights)


def test_multipliers_turn_where_members_do(tmp_path: Path) -> None:
    lines = trained(constrained(rule(threshold=-0.5)), settings(**LONG), tmp_path)
    assert lines[0]["multiplier.0"] == 0 and lines[3]["multiplier.0"] < 0, (
        "above the threshold from the start"
    )
    for line in lines:
        assert -1 < line["multiplier.1"] < 1
        assert line["reward"] == pytest.approx((line["reward.0"] + line["reward.1"]) / 2, abs=1e-5)


def test_at_multipliers_of_one_it_is_the_mean_without_a_penalty(tmp_path: Path) -> None:
    rows = list(range(16))
    plain = trainer(constrained(None), settings(kl_coef=0.3), tmp_path, [])
    held = trainer(constrained(rule(Form.mu)), settings(kl_coef=0.3), tmp_path, [])
    held.multipliers = [[50.0, 50.0], [0.0, 0.0]]
    with torch.no_grad():
        one, other = plain._roll_out(rows), held._roll_out(rows)
    torch.testing.assert_close(one.score, other.score)
    assert held._coefficient() == pytest.approx(0) and plain._coefficient() == 0.3


# --- the stage -------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(inputs: Mapping[str, Path]) -> Mapping[str, Path]:
    """Task, SFT and a proxy of two reward models under constraints."""
    loading.save(tiny.reward_model(2), tiny.tokenizer(), inputs["proxy"] / "members/1/model")
    write_combination(inputs["proxy"], rule(threshold=0.4, lr=0.2), np.zeros((2, 60)), np.array([0.5, 0.7]))
    return inputs


def test_a_constrained_proxy_is_read_whole(folders: Mapping[str, Path]) -> None:
    setup = load_setup(settings(), folders, RUNTIME)
    limits, answers = setup.constraints, [[5, 6, tiny.EOS], [7, 8, 9]]
    assert limits is not None and limits.rule == rule(threshold=0.4, lr=0.2)
    members = limits.members([0, 3], answers)
    assert members.shape == (2, 2) and not np.allclose(members[0], members[1])
    np.testing.assert_allclose(setup.reward([0, 3], answers), members.mean(axis=0))


HARD: dict[type, dict[str, Any]] = {
    PPO: {"kl_coef": 0.1, "kl_target": 1.0},
    GRPO: {"kl_coef": 0.1, "kl_place": Place.loss},
    RLOO: {"kl_coef": 0.1},
}


@pytest.mark.parametrize("method", [PPO, *SLOWLY])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    method: Any, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    config = settings(method, steps=16, **HARD[method])
    run = partial(registry.module(config.STAGE).run, config, folders)
    assert_ends_alike(run, tmp_path, partial(signalled_at, 8), expected=8)
    lines = [json.loads(line) for line in (tmp_path / "second/metrics.jsonl").open()]
    weights = [line["multiplier.1"] for line in lines if "multiplier.1" in line]
    assert len(weights) == 4 and len(set(weights)) == 4, "a line a rollout, each with multipliers of its own"


@pytest.mark.slow
def test_a_run_that_forgot_its_multipliers_would_end_elsewhere(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlhf_lab.stages.policy.online.rollouts import Rollouts

    monkeypatch.setattr(Rollouts, "STATE", ("kl_coef",))
    config = settings(steps=16)
    run = partial(registry.module(config.STAGE).run, config, folders)
    with pytest.raises(AssertionError, match="samples"):
        assert_ends_alike(run, tmp_path, partial(signalled_at, 8), expected=8)


# --- planning --------------------------------------------------------------------------------------------------

CONSTRAINED = ("rm_combination=constrained", "policy=ppo")


def test_thresholds_share_members_and_their_scores() -> None:
    leaves = [
        plan(experiment(*CONSTRAINED, f"rm_combination.thresholds={levels}")) for levels in ("[1]", "[1.5]")
    ]
    mean = plan(experiment("policy=ppo", "rm_combination=mean"))
    members = [{node.key for node in leaf.walk() if node.name == "reward_model"} for leaf in (*leaves, mean)]
    assert len(members[0]) == 5 and members[0] == members[1] == members[2]
    assert len({leaf.inputs["samples"].key for leaf in (*leaves, mean)}) == 3


def test_state_has_as_many_multipliers_as_members() -> None:
    asked = experiment(*CONSTRAINED, "rm_combination.members=3").rm_combination
    assert isinstance(asked, Constrained) and len(multipliers.initial(asked)[0]) == 3
