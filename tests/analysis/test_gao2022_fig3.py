"""Coefficients over reward-model sizes, in a world where larger is better and in one where all sizes are alike."""

from pathlib import Path

import numpy as np
import pytest
from fake_store import Cell, Sweep, Truth, only, write_store

from analysis.figures import gao2022_fig3
from analysis.figures.gao2022_fig3 import claim_coefficients, make, of_sizes
from analysis.runs.arms import BEST_OF_N, MAIN, Study, study
from analysis.runs.fitting import refits, shared_alpha
from analysis.runs.rank_order import claim_size_order, size_order
from analysis.statistics import fits
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.store.records import MissingRuns, runs

SIZES = ("1k", "3k", "25k", "100k", "600k")


def world(root: Path, truth: Truth, replicates: int = 5) -> Study:
    cells = [Cell(method, {}, replicates, rm=rm) for method in ("bon", "ppo") for rm in SIZES]
    write_store(root, only(*cells, name="mine", questions=96, truth=truth))
    return study(runs("mine", root))


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return world(tmp_path_factory.mktemp("ordered"), Truth())


def claimed(sweep_study: Study) -> dict[tuple[str, str], Claim]:
    claims = ClaimTable("gao2022_fig3")
    for method in sweep_study.methods:
        for sizes in of_sizes(sweep_study.of(method, MAIN)):
            claim_coefficients(claims, sizes)
    return {(claim.subject, claim.topic): claim for claim in claims}


def test_larger_reward_models_have_smaller_betas(ordered: Study) -> None:
    claims = claimed(ordered)
    assert set(claims) == {
        *((f"best-of-n, {kl} KL", f"{trend} with size") for kl in ("tie-aware", "bound") for trend in ORDERS),
        *(("PPO", topic) for topic in ("beta falls with size", "one alpha does")),
    }
    assert {claims[key].met for key in claims if key[1].startswith("beta falls")} == {True}
    assert not any(claim.conditional for claim in claims.values())


ORDERS = ("alpha grows", "beta falls", "beta / alpha falls")


def test_sizes_that_are_alike_have_no_order(tmp_path: Path) -> None:
    claims = claimed(world(tmp_path, Truth(alike=True)))
    assert len(claims) == 8
    assert not any(claim.met for (_, topic), claim in claims.items() if topic.endswith("with size"))
    assert claims["PPO", "one alpha does"].met is True


def test_few_replicates_leave_all_of_it_undecided(tmp_path: Path) -> None:
    claims = claimed(world(tmp_path, Truth(), replicates=2))
    assert {claim.met for claim in claims.values()} == {None}


def test_each_run_is_refitted_in_every_draw(ordered: Study) -> None:
    arm = ordered.of(BEST_OF_N)[0]
    fitted = refits(arm, "bound")
    draws, run = len(arm.drawn.resamples), arm.curves[2].normalised()
    by_hand = fits.fit(
        "bon", np.sqrt(run.kl[1:]) * 0 + bound(arm.curves[2].points[1:]), run.values["gold"][1:]
    )
    assert fitted.alpha.shape == fitted.peak_d.shape == (draws, 5)
    assert (fitted.alpha[0, 2], fitted.beta[0, 2]) == pytest.approx((by_hand.alpha, by_hand.beta))
    assert fitted.alpha[1:, 2].std() > 0


def bound(n: np.ndarray) -> np.ndarray:
    return np.sqrt(np.log(n) - (n - 1) / n)


def test_one_alpha_costs_nothing_for_one_size_twice_and_never_less_than_an_alpha_each(ordered: Study) -> None:
    first, *_, last = ordered.of("ppo")
    assert shared_alpha([first, first]).cost == pytest.approx(1.0)
    shared = shared_alpha([first, last])
    assert (shared.cost >= 1 - 1e-9).all() and shared.betas.shape == (2, *shared.alpha.shape)


def test_any_number_is_ranked_against_size(ordered: Study) -> None:
    arms = ordered.of(BEST_OF_N)
    draws = len(arms[0].drawn.resamples)
    ranked = size_order(arms, lambda arm: np.full((draws, 5), arm.parameters))
    assert ranked.rho == pytest.approx(1.0) and ranked.draws == pytest.approx(1.0)
    claims = ClaimTable("gao2022_fig3")
    claim_size_order(
        claims,
        "beta_order",
        "RL",
        "falls",
        arms,
        lambda arm: np.full((draws, 5), -arm.parameters),
        "",
        sign=-1,
    )
    (claim,) = claims
    assert claim.met is True and claim.measured == pytest.approx(1.0)


def test_the_figure_of_two_sizes_of_another_sweep_names_the_papers_numbers(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep())
    result = make(runs("quickstart", tmp_path))
    assert set(result.table["alphas"]) == {gao2022_fig3.OWN, gao2022_fig3.ONE}
    assert {claim.met for claim in result.claims} == {None}
    assert any("one alpha" in note for note in result.notes) and "theirs" in result.notes[-1]


def test_one_size_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("bon"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="two sizes"):
        make(runs("mine", tmp_path))
