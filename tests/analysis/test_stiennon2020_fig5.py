"""Predicted and actual preference where the one goes on while the other turns, and where nothing turns."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import stiennon2020_fig5
from analysis.runs.arms import study
from analysis.runs.win_rates import win_rates
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CELLS = tuple(Cell("ppo", {"kl_coef": one}, 5) for one in (0.0, 0.12, 0.2, 0.4, 2.0))
TURNS = Truth(damage={"ppo": 2.0})
RISES = Truth(damage={"ppo": 0.0})


def write(root: Path, truth: Truth) -> Path:
    sweep = only(*CELLS, name="stiennon2020_fig5", questions=64, truth=truth)
    write_store(root, replace(sweep, checkpoints=7))
    return root


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("turned"), TURNS)


def claims(root: Path) -> dict[str, Claim]:
    return {one.topic: one for one in stiennon2020_fig5.make(runs("stiennon2020_fig5", root)).claims}


def test_actual_preference_turns_under_one_half_while_predicted_rises(turned: Path) -> None:
    found = claims(turned)
    assert {topic: one.met for topic, one in found.items()} == dict.fromkeys(
        (
            "smaller KL",
            "predicted rises",
            "maximum between coefficients",
            "actual falls",
            "actual below one half",
            "actual turns while training",
        ),
        True,
    )
    assert not any(one.conditional or one.by_construction for one in found.values())


def test_preference_that_only_rises_does_not_turn(tmp_path: Path) -> None:
    found = claims(write(tmp_path, RISES))
    assert found["predicted rises"].met is True
    for topic in ("maximum between coefficients", "actual falls", "actual below one half"):
        assert found[topic].met is False
    assert found["actual turns while training"].met is False


def test_shares_are_those_of_all_pairs_of_a_prompt(turned: Path) -> None:
    run = study(runs("stiennon2020_fig5", turned)).arms[0].runs[0]
    found = win_rates(run)
    frame = run.rows(["prompt_id", "question_id", "checkpoint", "gold", "proxy"]).to_pandas()
    steps = sorted(frame["checkpoint"].unique())
    mine = frame[(frame["question_id"] == 3) & (frame["checkpoint"] == steps[-1])]
    start = frame[(frame["question_id"] == 3) & (frame["checkpoint"] == 0)]
    pairs = mine.merge(start, on="prompt_id", suffixes=("", "_sft"))
    assert len(pairs) == 8
    predicted = 1 / (1 + np.exp(-(pairs["proxy"] - pairs["proxy_sft"]).astype(float)))
    gold = np.sign((pairs["gold"] - pairs["gold_sft"]).astype(float))
    assert found["predicted"][3, -1] == pytest.approx(predicted.mean(), abs=1e-6)
    assert found["actual"][3, -1] == pytest.approx((0.5 + gold / 2).mean())
    assert np.allclose(found["predicted"][:, 0], 0.5) and np.allclose(found["actual"][:, 0], 0.5)


def test_two_coefficients_or_an_ensemble_are_no_such_figure(tmp_path: Path) -> None:
    ensemble = [Cell("ppo", {"kl_coef": one}, rule="mean") for one in (0.0, 0.1, 0.3)]
    write_store(tmp_path, only(*CELLS[:2], *ensemble, name="mine", questions=8))
    with pytest.raises(MissingRuns, match="under 2 coefficients"):
        stiennon2020_fig5.make(runs("mine", tmp_path))


def test_the_command_draws_it_with_win_rate_beside_mean_reward(turned: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["stiennon2020_fig5", "--store", str(turned), "--out", str(tmp_path)]) == 0
    assert "a share saturates" in printed.getvalue()
    table = pd.read_csv(tmp_path / "stiennon2020_fig5.csv")
    assert table[["predicted", "actual", "gold", "proxy"]].notna().all().all()
    last = table[(table["curve"] == "mean") & (table["n_or_step"] == 100)]
    assert ((last["actual_lo"] < last["actual"]) & (last["actual"] < last["actual_hi"])).all()
