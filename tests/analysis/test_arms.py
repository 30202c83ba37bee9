from pathlib import Path

import pytest
from fake_store import Cell, only, write_store

from analysis.arms import MAIN, PENALISED, study
from rlhf_lab.records import runs


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
