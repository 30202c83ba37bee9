import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Sweep, Truth, only, write_store
from scipy.special import stdtrit

from analysis.commands.figures import main
from analysis.figures import gao2022_fig9
from analysis.runs.arms import Study, study
from analysis.runs.penalties import end_kl, falls_with_coefficient, families, penalised
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, runs

LOSS = {"kl_place": "loss", "kl_coef": 0.1}
CELLS = (
    *(Cell("ppo", {"kl_coef": coefficient}, 6) for coefficient in (0.0, 0.1, 0.45)),
    Cell("ppo", {"divergence": "sqrt_chi2", **LOSS}, 6),
)


def world(root: Path, truth: Truth) -> list[Claim]:
    write_store(root, only(*CELLS, name="gao2022_fig9", questions=96, truth=truth))
    return gao2022_fig9.make(runs("gao2022_fig9", root)).claims


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alike")
    write_store(root, only(*CELLS, name="gao2022_fig9", questions=96))
    return root


def found(claims: list[Claim], topic: str, of: str = "KL penalty 0.1") -> Claim:
    return next(claim for claim in claims if claim.topic == topic and claim.subject.endswith(of))


def test_gold_that_follows_from_kl_alone_is_found_equal(alike: Path) -> None:
    claims = gao2022_fig9.make(runs("gao2022_fig9", alike)).claims
    equal = found(claims, "gold at equal KL")
    assert equal.met is True and not equal.conditional and equal.replicates == 6
    chi2 = "root-chi-squared penalty 0.1 in the loss"
    assert found(claims, "gold at equal KL", chi2).met is True
    assert found(claims, "above the KL penalty", chi2).met is not True
    assert found(claims, "proxy higher at equal KL").met is not True
    assert [claim.met for claim in claims if claim.topic == "smaller KL"] == [True, True]


def test_near_the_initial_policy_equality_says_nothing(alike: Path) -> None:
    near = found(gao2022_fig9.make(runs("gao2022_fig9", alike)).claims, "gold at equal KL", "penalty 0.45")
    assert near.interval.lo > -0.1 and near.interval.hi < 0.1 and near.met is None


def test_best_of_n_in_the_sweep_scales_the_proxy_and_is_not_compared(tmp_path: Path) -> None:
    cells = tuple(Cell("ppo", {"kl_coef": coefficient}, 2) for coefficient in (0.0, 0.1))
    sweep = replace(only(*cells, name="mine"), rms=("3k",), ppo_replicates=0, answers=64)
    write_store(tmp_path, sweep)
    read = study(runs("mine", tmp_path))
    bon, ppo = read.of("bon")[0], read.of("ppo")[0]
    assert ppo.curves[1].initial.covariance == pytest.approx(bon.curves[1].initial.covariance)
    assert {
        claim.subject.partition(",")[0] for claim in gao2022_fig9.make(runs("mine", tmp_path)).claims
    } == {
        "PPO",
        "PPO: 3k",
    }


def test_four_replicates_do_not_establish_equality(tmp_path: Path) -> None:
    cells = [Cell("ppo", {"kl_coef": coefficient}, 4) for coefficient in (0.0, 0.1)]
    write_store(tmp_path, only(*cells, name="mine", questions=200))
    equal = found(gao2022_fig9.make(runs("mine", tmp_path)).claims, "gold at equal KL")
    assert equal.interval.lo > -0.1 and equal.interval.hi < 0.1 and equal.met is None


def test_a_penalty_that_gains_gold_and_proxy_is_found_out(tmp_path: Path) -> None:
    claims = world(tmp_path, Truth(penalised=0.5, penalised_proxy=0.8))
    gained = found(claims, "gold at equal KL")
    assert gained.met is False and gained.interval.lo > 0.1
    assert found(claims, "proxy higher at equal KL").met is True


def test_replicates_that_differ_much_leave_it_undecided(tmp_path: Path) -> None:
    assert found(world(tmp_path, Truth(spread=1.5)), "gold at equal KL").met is None


def test_penalties_that_do_nothing_have_no_order(tmp_path: Path) -> None:
    """So small that they stop nothing; the unpenalised run, which moves differently here, is left out."""
    cells = [Cell("ppo", {"kl_coef": coefficient}, 5) for coefficient in (0.0, 0.001, 0.002, 0.003, 0.004)]
    write_store(tmp_path, only(*cells, name="mine"))
    family = next(iter(families(study(runs("mine", tmp_path))).values()))
    order = falls_with_coefficient(family[1:], end_kl)
    assert order is not None and not order.interval().lo > 0


def test_a_sweep_without_penalties_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(questions=8, answers=16))
    with pytest.raises(MissingRuns, match="a penalised run"):
        gao2022_fig9.make(runs("quickstart", tmp_path))


def test_the_command_draws_it_and_prints_a_table(alike: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["gao2022_fig9", "--store", str(alike), "--out", str(tmp_path)]) == 0
    assert "KL penalty 0.1" in printed.getvalue() and "gold at equal KL" in printed.getvalue()
    fits = pd.read_csv(tmp_path / "gao2022_fig9.fits.csv")
    assert len(fits) == 6 and (fits["lo"] < fits["estimate"]).all() and fits["sd_of_pairs"].gt(0).all()
    assert (tmp_path / "gao2022_fig9.png").stat().st_size > 20_000


def test_arms_are_compared_with_the_unpenalised_of_their_own_reward_model(alike: Path) -> None:
    read: Study = study(runs("gao2022_fig9", alike))
    assert [arm.label for arm in penalised(read)] == [
        "3k, KL penalty 0.1",
        "3k, KL penalty 0.45",
        "3k, root-chi-squared penalty 0.1 in the loss",
    ]
    assert list(families(read)) == ["PPO, 3k, KL penalty", "PPO, 3k, root-chi-squared penalty in the loss"]


# --- power --------------------------------------------------------------------------------------------------


def power(sd: float, replicates: int, difference: float = 0.0, times: int = 20_000) -> float:
    """How often the 90 % interval of pairs with this SD lies inside -+ .1; questions come on top."""
    rng = np.random.default_rng(0)
    pairs = difference + sd * rng.normal(size=(times, replicates))
    half = stdtrit(replicates - 1, 0.95) * pairs.std(axis=1, ddof=1) / np.sqrt(replicates)
    return float((np.abs(pairs.mean(axis=1)) + half < 0.1).mean())


@pytest.mark.parametrize(
    ("sd", "replicates", "difference", "wanted"),
    [
        (0.07, 5, 0.0, 0.68),
        (0.07, 10, 0.0, 0.99),
        (0.10, 5, 0.0, 0.29),
        (0.10, 10, 0.0, 0.80),
        (0.10, 20, 0.0, 0.99),
        (0.15, 10, 0.0, 0.28),
        (0.15, 20, 0.0, 0.78),
        (0.07, 10, 0.05, 0.67),
        (0.10, 10, 0.05, 0.42),
    ],
)
def test_the_power_that_the_thresholds_state(
    sd: float, replicates: int, difference: float, wanted: float
) -> None:
    assert power(sd, replicates, difference) == pytest.approx(wanted, abs=0.01)


def test_a_difference_as_large_as_the_margin_is_seldom_called_none() -> None:
    """Through the claim's own code: pairs of SD .07, questions of SE .01."""
    rng, claims = np.random.default_rng(1), ClaimTable("any", limits={"alike": {"margin": 0.1}})
    for _ in range(300):
        draws = 0.1 + 0.07 * rng.normal(size=10) + 0.01 * rng.normal(size=(61, 1))
        draws[0] -= 0.01 * rng.normal()
        claims.equivalent("alike", "PPO", "no difference", Estimate.of(draws), 122, "alike")
    assert sum(claim.met is True for claim in claims) <= 0.08 * 300
