from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Sweep, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import gao2022_fig14
from analysis.figures.gao2022_fig14 import full_steps, late_share, slope
from analysis.runs.arms import study
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CELLS = tuple(Cell("ppo", {"kl_coef": coefficient}, 5) for coefficient in (0.0, 0.1, 0.5))


def claims(root: Path, truth: Truth) -> dict[tuple[str, str], Claim]:
    write_store(root, only(*CELLS, name="mine", questions=16, truth=truth))
    made = gao2022_fig14.make(runs("mine", root))
    return {(claim.subject, claim.topic): claim for claim in made.claims}


def test_a_square_of_the_steps_and_a_plateau_under_the_largest_penalty(tmp_path: Path) -> None:
    found = claims(tmp_path, Truth())
    assert set(found) == {("PPO, 3k", "KL ~ step^2"), ("PPO, 3k, KL penalty 0.5", "plateau")}
    square = found["PPO, 3k", "KL ~ step^2"]
    assert square.met is True and square.measured == pytest.approx(2, abs=0.02)
    assert found["PPO, 3k, KL penalty 0.5", "plateau"].met is True


def test_kl_that_grows_with_the_steps_is_no_square_and_what_goes_on_no_plateau(tmp_path: Path) -> None:
    assert claims(tmp_path / "line", Truth(power=0.5))["PPO, 3k", "KL ~ step^2"].met is False
    late = claims(tmp_path / "late", Truth(power=3.0))["PPO, 3k, KL penalty 0.5", "plateau"]
    assert late.met is False and late.measured > 0.15


def test_the_panel_of_sizes_is_there_where_the_runs_are(tmp_path: Path) -> None:
    cells = (*CELLS, Cell("ppo", {"kl_coef": 0.0}, 5, rm="25k"))
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    made = gao2022_fig14.make(runs("mine", tmp_path))
    assert len(made.figure.axes) == 2
    assert sum(claim.topic == "KL ~ step^2" for claim in made.claims) == 2
    assert set(made.fits["label"]) == {"3k", "25k", "3k, KL penalty 0.1", "3k, KL penalty 0.5"}


def test_one_penalty_of_a_kind_is_not_called_large(tmp_path: Path) -> None:
    write_store(tmp_path, only(*CELLS[:2], name="mine", questions=8))
    assert {claim.topic for claim in gao2022_fig14.make(runs("mine", tmp_path)).claims} == {"KL ~ step^2"}


def test_runs_that_two_sweeps_share_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gao2022_fig9", "gao2022_fig1"):
        write_store(tmp_path, only(*CELLS, name=name, questions=8))
    kept, same = (next((tmp_path / "sweeps" / name).glob("*")) for name in ("gao2022_fig9", "gao2022_fig1"))
    same.write_text(kept.read_text())
    assert main(["gao2022_fig14", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    fits = pd.read_csv(tmp_path / "out" / "gao2022_fig14.fits.csv")
    assert set(fits["replicates"]) == {5} and "KL ~ step^2" in capsys.readouterr().out


def test_too_few_checkpoints_in_the_range_leave_it_undecided(tmp_path: Path) -> None:
    write_store(tmp_path, only(CELLS[0], name="mine", questions=8))
    arm = study(runs("mine", tmp_path)).arms[0]
    assert np.isnan(slope(arm, 3.0, 4.0).value) and np.isfinite(slope(arm, 0.1, 4.0).value)
    assert late_share(arm).value == pytest.approx(1 - 0.66**2, abs=0.06)


def test_a_step_of_the_warm_up_counts_by_its_learning_rate() -> None:
    steps = np.array([0, 5, 10, 30])
    assert full_steps(steps, 10) == pytest.approx(np.array([0, 1.25, 5, 25]))
    assert full_steps(steps, 0) == pytest.approx(steps)


def test_what_is_not_trained_by_steps_has_no_such_figure(tmp_path: Path) -> None:
    bon = Sweep(name="mine", rms=("3k",), ppo_replicates=0, few_pairs=False, control=False, answers=16)
    write_store(tmp_path, bon)
    with pytest.raises(MissingRuns, match="trained by steps"):
        gao2022_fig14.make(runs("mine", tmp_path))
