"""Averaged weights in worlds where they help, and where they are like any other rule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.figures import warm2024
from analysis.reward_models.accuracy import neighbour_pairs, pair_means
from analysis.reward_models.calibration import agreement
from analysis.runs.arms import study
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CELLS = tuple(
    Cell(policy, {}, 5, rule=rule, rate=0.25)
    for policy in ("bon", "ppo")
    for rule in ("single", "mean", "warm")
)
WARM = "3k, WARM of 5, 25 % flipped"


def made(root: Path, truth: Truth) -> dict[tuple[str, str], Claim]:
    sweep = only(*CELLS, name="warm2024", questions=48, truth=truth)
    write_store(root, replace(sweep, answers=128, checkpoints=8))
    return {(one.subject, one.topic): one for one in warm2024.make(runs("warm2024", root)).claims}


def test_averaged_weights_that_keep_gold_are_told_from_both_others(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage={"single": 3.0, "mean": 3.0, "warm": 0.3}))
    for method in ("best-of-n", "PPO"):
        for other in ("single", "mean of 5"):
            assert found[f"{method}, {WARM}", f"above {other} at the end"].met is True
            assert found[f"{method}, {WARM}", f"loses less than {other}"].met is True
    assert found[f"PPO, {WARM}", "above mean of 5 at equal KL"].met is True
    assert found[f"best-of-n, {WARM}", "more accurate than single"].met is True


def test_averaged_weights_like_any_other_are_not_said_to_help(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage=dict.fromkeys(("single", "mean", "warm"), 2.0)))
    assert len(found) == 12 and not any(one.met or one.conditional for one in found.values())


def test_accuracy_is_that_of_untied_pairs(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("bon"), name="mine", questions=8))
    (arm,) = study(runs("mine", tmp_path)).arms
    rows = arm.runs[0].rows(["question_id", "gold", "proxy"])
    gold, proxy = (rows[name].to_numpy().reshape(-1, 2) for name in ("gold", "proxy"))
    agrees = np.diff(gold)[:, 0] * np.diff(proxy)[:, 0] > 0
    of = rows["question_id"].to_numpy()[::2]
    found = pair_means(neighbour_pairs(arm.runs[0]), agreement, arm.curves[0].questions)
    assert found == pytest.approx([agrees[of == one].mean() for one in range(8)])


def test_without_averaged_weights_there_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("bon"), Cell("bon", rule="mean"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="averaged weights"):
        warm2024.make(runs("mine", tmp_path))
