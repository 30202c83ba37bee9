"""Constraints in worlds where they keep gold, and where they do nothing."""

from dataclasses import replace
from pathlib import Path

import fake_store
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.figures import moskovitz2023
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CELLS = tuple(
    Cell("ppo", {"kl_coef": 0.05}, 5, rule=rule, rate=0.25) for rule in ("single", "mean", "mu", "xi")
)
XI, MU = (f"PPO, 3k, {form} of 5 at 1 SD, 25 % flipped, KL penalty 0.05" for form in ("xi", "mu"))


def made(root: Path, truth: Truth) -> dict[tuple[str, str], Claim]:
    sweep = only(*CELLS, name="moskovitz2023", questions=48, truth=truth)
    write_store(root, replace(sweep, checkpoints=8))
    result = moskovitz2023.make(runs("moskovitz2023", root))
    return {(one.subject, one.topic): one for one in result.claims}


def test_constraints_that_keep_gold_are_told_from_the_mean(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage={"single": 3.0, "mean": 3.0, "xi": 0.3, "mu": 3.0}))
    assert found[XI, "above mean of 5 at the end"].met is True
    assert found[XI, "loses less than mean of 5"].met is True
    assert not found[MU, "above mean of 5 at the end"].met
    assert (MU, "held at its threshold") not in found, "a floor may be exceeded"


def test_constraints_that_do_nothing_are_not_said_to_help(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage={"ppo": 2.0}))
    assert len(found) == 5 and not any(one.met or one.conditional for one in found.values())


def test_members_that_end_at_their_threshold_are_said_to_and_others_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = made(tmp_path / "far", Truth())[XI, "held at its threshold"]
    assert far.met is False and far.measured > 1, "the proxy of this world ends far above 1"
    settings = fake_store.RULES["xi"] | {"thresholds": [round(1.0 + far.measured, 2)]}
    monkeypatch.setitem(fake_store.RULES, "xi", settings)
    write_store(tmp_path / "at", replace(only(*CELLS, name="moskovitz2023", questions=48), checkpoints=8))
    claims = moskovitz2023.make(runs("moskovitz2023", tmp_path / "at")).claims
    (held,) = [one for one in claims if one.topic == "held at its threshold"]
    assert abs(held.measured) < 0.2 and held.met is not False


def test_without_a_mean_there_is_nothing_to_compare(tmp_path: Path) -> None:
    cells = [Cell("ppo", rule=rule) for rule in ("single", "xi")]
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    with pytest.raises(MissingRuns, match="under constraints"):
        moskovitz2023.make(runs("mine", tmp_path))
