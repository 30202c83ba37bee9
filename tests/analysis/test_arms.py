from pathlib import Path

import pytest
from fake_store import Cell, only, write_store

from analysis.runs.arms import MAIN, PENALISED, study
from analysis.runs.penalties import unpenalised
from rlhf_lab.store.records import runs


def test_arms_of_one_method_are_told_apart_by_what_they_differ_in(tmp_path: Path) -> None:
    cells = (
        *(Cell("ppo", {"kl_coef": coefficient}) for coefficient in (0.0, 0.3, 0.05)),
        Cell("ppo", {"kl_coef": 0.3, "kl_place": "loss", "divergence": "sqrt_chi2"}),
        *(Cell("dpo", {"beta": beta}) for beta in (0.5, 0.05)),
        Cell("kto", {"beta": 0.1}),
    )
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    read = study(runs("mine", tmp_path))
    assert [(arm.title, arm.kind) for arm in read.arms] == [
        ("DPO, 3k, beta 0.05", MAIN),
        ("DPO, 3k, beta 0.5", MAIN),
        ("KTO, 3k", MAIN),  # one beta is no news
        ("PPO, 3k", MAIN),
        ("PPO, 3k, KL penalty 0.05", PENALISED),
        ("PPO, 3k, KL penalty 0.3", PENALISED),
        ("PPO, 3k, root-chi-squared penalty 0.3 in the loss", PENALISED),
    ]
    assert all(len(arm.curves) == len(arm.runs) == 2 for arm in read.arms)
    assert [arm.settings.get("beta") for arm in read.arms[:3]] == [0.05, 0.5, 0.1]


def test_runs_of_the_same_seeds_are_no_replicates(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("ppo"), Cell("ppo"), name="mine", questions=8))
    with pytest.raises(ValueError, match="the same seeds, so they are no replicates"):
        study(runs("mine", tmp_path))


def test_a_setting_that_differs_between_unlike_reward_models_only_is_no_name(tmp_path: Path) -> None:
    cells = (Cell("ppo", {"steps": 120}), Cell("ppo", {"steps": 96}, rm="25k"))
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    assert [arm.title for arm in study(runs("mine", tmp_path)).arms] == ["PPO, 3k", "PPO, 25k"]


def test_rewards_that_differ_in_rule_labels_or_shaping_are_arms_of_their_own(tmp_path: Path) -> None:
    rules = [Cell("bon", rule=rule) for rule in ("single", "mean", "min", "uwo", "warm")]
    flipped = [Cell("bon", rule=rule, rate=0.25) for rule in ("single", "mean")]
    shaped = [Cell("ppo", shaping=one) for one in ("none", "par", "clip", "log_sigmoid")]
    penalised = [Cell("ppo", {"kl_coef": 0.05}, shaping="par")]
    write_store(tmp_path, only(*rules, *flipped, *shaped, *penalised, name="mine", questions=8))
    read = study(runs("mine", tmp_path))
    assert {arm.label for arm in read.of("bon")} == {
        "3k",
        "3k, mean of 5",
        "3k, min of 5",
        "3k, UWO of 5 (.5)",
        "3k, WARM of 5",
        "3k, 25 % flipped",
        "3k, mean of 5, 25 % flipped",
    }
    assert {arm.label for arm in read.of("ppo")} == {
        "3k",
        "3k, PAR",
        "3k, clipped at 1 SD",
        "3k, log-sigmoid at .85",
        "3k, PAR, KL penalty 0.05",
    }
    (under_penalty,) = read.of("ppo", PENALISED)
    without = unpenalised(read, under_penalty)
    assert without is not None and without.label == "3k, PAR"


def test_a_trained_policy_is_scaled_by_best_of_n_under_the_same_rule_whatever_the_shaping(
    tmp_path: Path,
) -> None:
    """Mean and minimum have the same settings: only the option tells them apart."""
    bon = [Cell("bon", rule=rule) for rule in ("mean", "min")]
    ppo = [Cell("ppo", rule="min"), Cell("ppo", rule="mean"), Cell("ppo", rule="min", shaping="par")]
    write_store(tmp_path, only(*bon, *ppo, name="mine", questions=8))
    read = {arm.title: arm.curves[0].initial.covariance for arm in study(runs("mine", tmp_path)).arms}
    mean, least = read["best-of-n, 3k, mean of 5"], read["best-of-n, 3k, min of 5"]
    assert (mean != least).any()
    assert (read["PPO, 3k, mean of 5"] == mean).all()
    assert (read["PPO, 3k, min of 5"] == least).all() and (read["PPO, 3k, min of 5, PAR"] == least).all()
