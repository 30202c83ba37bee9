from pathlib import Path

import numpy as np
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.drawing.result import FigureResult
from analysis.figures import rafailov2024_fig1
from analysis.runs.arms import study
from analysis.runs.penalties import by_beta, finals
from analysis.statistics.claims import Claim
from analysis.statistics.fits import FORMULA
from rlhf_lab.store.records import MissingRuns, runs

BETAS = (0.02, 0.1, 0.5, 2.0)
INTERIOR, WITHIN, LESS = "maximum between betas", "decline while training", "IPO loses less"


def result(root: Path, truth: Truth, replicates: int = 5) -> FigureResult:
    cells = [Cell(method, {"beta": beta}, replicates) for method in ("dpo", "ipo", "slic") for beta in BETAS]
    write_store(root, only(*cells, name="rafailov2024_fig1", truth=truth))
    return rafailov2024_fig1.make(runs("rafailov2024_fig1", root))


@pytest.fixture(scope="module")
def drawn_figure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FigureResult]:
    """DPO turns, IPO loses less, SLiC's gold only rises."""
    root = tmp_path_factory.mktemp("store")
    return root, result(root, Truth(damage={"ipo": 0.5, "slic": -0.3}))


def claim_on(result: FigureResult, subject: str, topic: str) -> Claim:
    return next(claim for claim in result.claims if (claim.subject, claim.topic) == (subject, topic))


def test_a_method_that_turns_has_a_maximum_between_betas(drawn_figure: tuple[Path, FigureResult]) -> None:
    assert claim_on(drawn_figure[1], "DPO, 3k", INTERIOR).met is True
    assert claim_on(drawn_figure[1], "DPO, 3k", WITHIN).met is True


def test_gold_that_only_rises_has_none(drawn_figure: tuple[Path, FigureResult]) -> None:
    assert claim_on(drawn_figure[1], "SLiC, 3k", INTERIOR).met is False
    assert claim_on(drawn_figure[1], "SLiC, 3k", WITHIN).met is False


def test_gold_that_only_falls_has_none_either(tmp_path: Path) -> None:
    falls = result(tmp_path, Truth(damage={"dpo": 8.0}, slip=0.6), replicates=2)
    assert claim_on(falls, "DPO, 3k", INTERIOR).met is False


def test_the_method_that_loses_less_is_found(drawn_figure: tuple[Path, FigureResult]) -> None:
    assert claim_on(drawn_figure[1], "IPO and DPO", LESS).met is True


def test_both_forms_are_fitted_to_the_checkpoints_of_all_betas(
    drawn_figure: tuple[Path, FigureResult],
) -> None:
    fits = drawn_figure[1].fits
    dpo = fits[(fits["method"] == "dpo") & fits["form"].isin(FORMULA)]
    assert len(dpo) == 8 and dpo["best_form"].eq(True).sum() == 4 and dpo["points"].gt(20).all()
    winner = dpo.loc[dpo["best_form"].eq(True), "rmse"].iloc[0]
    assert winner == dpo["rmse"].min()
    assert any(note.startswith("DPO: RMSE") for note in drawn_figure[1].notes)


def test_accuracy_of_the_implicit_reward_is_reported_and_not_claimed(
    drawn_figure: tuple[Path, FigureResult],
) -> None:
    """In this world it rises with the movement, as gold of SLiC does and that of DPO does not."""
    correlations = (
        drawn_figure[1].fits[drawn_figure[1].fits["parameter"] == "rank correlation"].set_index("method")
    )
    assert correlations.loc["slic", "estimate"] == pytest.approx(1.0)
    assert correlations.loc["dpo", "hi"] < 0.5 and correlations.loc["all", "points"] == 60
    assert not any("accuracy" in claim.claim for claim in drawn_figure[1].claims)
    table = drawn_figure[1].table
    last = table[table["accuracy"].notna()]
    assert (last["n_or_step"] == 100).all() and last["accuracy"].max() == pytest.approx(
        0.5 + 5e-4 * 4.5 * 100
    )


def test_last_checkpoints_are_joined_in_the_order_of_the_pull(
    drawn_figure: tuple[Path, FigureResult],
) -> None:
    sweep_study = study(runs("rafailov2024_fig1", drawn_figure[0]))
    arms = by_beta(sweep_study, "dpo")
    assert [arm.settings["beta"] for arm in arms] == [2.0, 0.5, 0.1, 0.02]
    last = finals(arms)
    assert last is not None and len(last.curves) == 5
    kl = last.curves[3].kl
    assert kl.shape == (64, 5) and (np.diff(kl.mean(axis=0)) > 0).all() and (kl[:, 0] == 0).all()
    assert kl[:, 1:] == pytest.approx(np.column_stack([arm.curves[3].kl[:, -1] for arm in arms]))


def test_a_sweep_without_betas_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("ppo"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="beta"):
        rafailov2024_fig1.make(runs("mine", tmp_path))
