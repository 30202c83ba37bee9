"""Policies of two sizes, in worlds where the larger gains less, peaks sooner, or is no different."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_store import Cell, Truth, only, write_store
from scipy.stats import t as student

from analysis.commands.figures import main
from analysis.figures.gao2022_fig7 import gains, make, pairs_of_sizes
from analysis.runs.arms import study
from analysis.statistics.claims import Claim, thresholds
from rlhf_lab.store.records import MissingRuns, runs

METHODS = ("best-of-n", "PPO")
HUMP = {"bon": 2.5}  # what the proxy likes does so much damage that gold peaks inside


def write(root: Path, truth: Truth, replicates: int = 5) -> Path:
    cells = [
        Cell(method, {"kl_coef": 0.0} if method == "ppo" else {}, replicates, model=model)
        for method in ("bon", "ppo")
        for model in ("100k", "25k")
    ]
    write_store(root, replace(only(*cells, name="gao2022_fig7", questions=64, truth=truth), answers=128))
    return root


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("alike"), Truth(damage=HUMP))


@pytest.fixture(scope="module")
def larger_gains_less(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("less"), Truth(damage=HUMP, scale={"100k": 0.5}))


def claims_in(root: Path) -> dict[tuple[str, str], Claim]:
    claims = make(runs("gao2022_fig7", root)).claims
    return {(claim.subject, claim.topic): claim for claim in claims}


def met_of(by_topic: dict[tuple[str, str], Claim], topic: str) -> set[bool | None]:
    return {claim.met for (_, claim_topic), claim in by_topic.items() if claim_topic == topic}


def test_the_policys_size_is_part_of_an_arms_name_where_it_varies(alike: Path) -> None:
    both_sizes = study(runs("gao2022_fig7", alike))
    assert [(arm.title, arm.reward) for arm in both_sizes.arms] == [
        (f"{method}, 3k, {size} policy", "3k") for method in METHODS for size in ("25k", "100k")
    ]


def test_policies_that_are_alike_gain_as_much_and_have_the_same_gap(alike: Path) -> None:
    claims = claims_in(alike)
    assert claims["best-of-n, 100k against 25k policy, 3k", "gains less"].met is False
    assert True not in met_of(claims, "gains less") and False not in met_of(claims, "same peak KL")
    assert False not in met_of(claims, "same gap") and not any(claim.conditional for claim in claims.values())


def test_a_policy_whose_gold_is_half_gains_less_and_peaks_where_the_other_does(
    larger_gains_less: Path,
) -> None:
    claims = claims_in(larger_gains_less)
    assert met_of(claims, "gains less") == {True}
    assert False not in met_of(claims, "same peak KL")
    assert True not in met_of(claims, "same gap")  # its proxy rises as the other's


def test_gold_is_in_the_unit_of_the_smaller_policy(larger_gains_less: Path) -> None:
    for pair in pairs_of_sizes(study(runs("gao2022_fig7", larger_gains_less))):
        (small, _), (large, _) = (gains(arm) for arm in pair)
        assert large[0].mean() / small[0].mean() == pytest.approx(0.5, abs=0.2)
        assert pair.large.curves[0].initial is pair.small.curves[0].initial


def test_a_policy_that_peaks_sooner_is_told(tmp_path: Path) -> None:
    claims = claims_in(write(tmp_path, Truth(damage={**HUMP, "100k": 2.5})))
    assert True not in met_of(claims, "same peak KL") and False in met_of(claims, "same peak KL")
    best = [claim for (subject, _), claim in claims.items() if subject.startswith("best-of-n, 100k")]
    assert all(claim.measured < 0.5 for claim in best if claim.topic == "same peak KL")


def test_two_replicates_establish_no_equivalence(tmp_path: Path) -> None:
    claims = claims_in(write(tmp_path, Truth(damage=HUMP), replicates=2))
    assert met_of(claims, "same peak KL") == met_of(claims, "same gap") == {None}


def test_one_size_of_policy_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("bon"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="two sizes"):
        make(runs("mine", tmp_path))


def test_the_command_draws_it(larger_gains_less: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["gao2022_fig7", "--store", str(larger_gains_less), "--out", str(tmp_path)]) == 0
    assert "100k against 25k" in " ".join(printed.getvalue().split())
    assert (tmp_path / "gao2022_fig7.png").stat().st_size > 20_000


@pytest.mark.parametrize(("sd", "expected"), [(0.1, 0.98), (0.2, 0.40), (0.3, 0.11)])
def test_the_power_that_the_thresholds_state(sd: float, expected: float) -> None:
    """How often same_peak_kl is met where the KLs are the same: five replicates of this SD of the log ratio."""
    margin = np.log(thresholds("gao2022_fig7")["same_peak_kl"]["hi"])
    ratios = sd * np.random.default_rng(0).normal(size=(20_000, 5))
    half = student.ppf(0.95, 4) * ratios.std(axis=1, ddof=1) / np.sqrt(5)
    assert np.mean(np.abs(ratios.mean(axis=1)) + half < margin) == pytest.approx(expected, abs=0.01)
