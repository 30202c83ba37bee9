"""Train and test reward in worlds where a policy leaves the other half's reward model behind, and where it does not."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import bai2022_fig4
from analysis.reward_models.cross_judging import judged, r_squared
from analysis.runs.arms import study
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

SIZES = ("3k", "25k")
CELLS = tuple(Cell(policy, rm=rm, replicates=5, half="first") for policy in ("bon", "ppo") for rm in SIZES)


def write(root: Path, truth: Truth, *cells: Cell) -> Path:
    sweep = only(*(cells or CELLS), name="bai2022_fig4", questions=48, truth=truth)
    write_store(root, replace(sweep, answers=64, checkpoints=13))
    return root


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("parted"), Truth(parted={"3k": 0.5, "25k": 0.2}))


def claims(root: Path) -> dict[tuple[str, str], Claim]:
    return {
        (one.subject[5:8], one.topic): one for one in bai2022_fig4.make(runs("bai2022_fig4", root)).claims
    }


def test_rewards_that_agree_at_first_and_part_later_are_told(parted: Path) -> None:
    found = claims(parted)
    assert len(found) == 7
    for rm in ("3k,", "25k"):
        assert found[rm, "no gap early"].met is True and found[rm, "gap at the end"].met is True
        assert found[rm, "linear early"].met is True
    assert found["25k", "smaller gap than 3k"].met is True


def test_a_reward_model_that_follows_to_the_end_has_no_gap(tmp_path: Path) -> None:
    found = claims(write(tmp_path, Truth()))
    for rm in ("3k,", "25k"):
        assert found[rm, "no gap early"].met is True and found[rm, "gap at the end"].met is False
    assert found["25k", "smaller gap than 3k"].met is False


def test_the_gap_is_that_of_the_world_in_its_own_units(parted: Path) -> None:
    """Half of what h moves beyond 2 of 4.5 SD, in SDs of the reward within a prompt."""
    (one, _) = sorted(judged(study(runs("bai2022_fig4", parted))), key=lambda one: one.train.parameters)
    sd = np.sqrt(np.mean([curves.initial.proxy_variance.mean() for curves in one.train.curves]))
    assert one.at_end("gap").value == pytest.approx(4 * 0.5 * 2.5 / sd, rel=0.05)
    assert one.at_end("gap").value == pytest.approx(
        one.at_end("train").value - one.at_end("test").value, rel=1e-9
    )
    assert 0.8 < one.agreement.value < 1


def test_reward_that_goes_with_kl_and_not_with_its_root_is_not_linear(parted: Path) -> None:
    (one, *_) = judged(study(runs("bai2022_fig4", parted)))
    paths = [replace(path, values=path.d**2) for path in one.paths("train")]
    bent = np.mean([r_squared(path, bai2022_fig4.LINEAR)[0] for path in paths])
    assert 0.9 < bent < 0.95 < one.linearity(bai2022_fig4.LINEAR)[0].mean()


def test_a_run_of_all_questions_is_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, Truth(), Cell("ppo"))
    with pytest.raises(MissingRuns, match="other_half=true"):
        bai2022_fig4.make(runs("bai2022_fig4", tmp_path))


def test_without_a_table_the_first_checkpoint_gives_the_scale(tmp_path: Path) -> None:
    (one,) = judged(study(runs("bai2022_fig4", write(tmp_path, Truth(), CELLS[-1]))))
    assert np.isfinite(one.at_end("gap").value) and one.agreement.value > 0.8


def test_halves_are_arms_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, Truth(), Cell("ppo"), Cell("ppo", half="first"))
    labels = [arm.label for arm in study(runs("bai2022_fig4", tmp_path)).arms]
    assert labels == ["3k", "3k, first half of the questions"]


def test_the_command_draws_it(parted: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["bai2022_fig4", "--store", str(parted), "--out", str(tmp_path)]) == 0
    assert "the test reward" in printed.getvalue()
    table = pd.read_csv(tmp_path / "bai2022_fig4.csv")
    assert (table["gap"] - table["train"] + table["test"]).abs().max() < 1e-4
    fits = pd.read_csv(tmp_path / "bai2022_fig4.fits.csv")
    assert (fits["parameter"].str.startswith("R^2")).sum() == 10
