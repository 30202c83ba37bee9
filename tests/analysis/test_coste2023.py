"""Figures 3, 4 and 7 of Coste et al. 2023 in worlds where ensembles help, and where they do not."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Truth, only, write_store
from scipy.stats import t as student

from analysis.commands.figures import main
from analysis.figures import coste2023_fig3, coste2023_fig4, coste2023_fig7
from analysis.runs.ablation import RULE, compared, conditions, is_plain
from analysis.runs.arms import study
from analysis.statistics.claims import Claim, thresholds
from rlhf_lab.store.records import MissingRuns, runs

RULES = ("single", "mean", "min", "uwo")
FLIPPED = 0.25
CELLS = (
    *(Cell("bon", {}, 5, rule=rule, rate=rate) for rate in (None, FLIPPED) for rule in RULES),
    *(Cell("ppo", {"kl_coef": 0.0}, 5, rule=rule) for rule in RULES),
    *(
        Cell("ppo", {"kl_coef": coefficient}, 5, rule=rule, rate=FLIPPED)
        for coefficient in (0.0, 0.12, 0.3)
        for rule in RULES
    ),
)
HELPED = Truth(damage={"single": 3.0, "mean": 2.0, "min": 0.3, "uwo": 0.3})
ALIKE = Truth(damage=dict.fromkeys(RULES, 2.0))


def write(root: Path, truth: Truth) -> Path:
    sweep = only(*CELLS, name="coste2023", questions=48, truth=truth)
    write_store(root, replace(sweep, answers=128, checkpoints=8))
    return root


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("helped"), HELPED)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("alike"), ALIKE)


def states(claims: list[Claim], topic: str, subject: str = "") -> dict[str, bool | None]:
    return {claim.subject: claim.met for claim in claims if claim.topic == topic and subject in claim.subject}


def test_best_of_n_against_ensembles_whose_errors_cancel(helped: Path) -> None:
    claims = coste2023_fig3.make(runs("coste2023", helped)).claims
    above, less = states(claims, "above single at the end"), states(claims, "loses less than single")
    assert len(above) == len(less) == 6
    for rule in ("min of 5", "UWO of 5 (.5)"):
        for labels in ("", ", 25 % flipped"):
            assert above[f"best-of-n, 3k, {rule}{labels}"] is True
            assert less[f"best-of-n, 3k, {rule}{labels}"] is True
    lost = states(claims, "no loss from the peak")
    assert lost["best-of-n, 3k, min of 5"] is True and lost["best-of-n, 3k"] is False


@pytest.mark.parametrize("figure", [coste2023_fig3, coste2023_fig4, coste2023_fig7])
def test_ensembles_that_are_like_their_first_member_are_not_said_to_help(alike: Path, figure) -> None:
    claims = figure.make(runs("coste2023", alike)).claims
    helped = [claim for claim in claims if claim.topic.startswith(("above", "loses less", "best"))]
    assert len(helped) >= 3 and not any(claim.conditional for claim in helped)
    assert [claim.claim for claim in helped if claim.met] == []


def test_what_ensembles_lose_is_printed_beside_both_papers(alike: Path) -> None:
    made = coste2023_fig3.make(runs("coste2023", alike))
    assert "eliminate" in made.notes[0] and "Eisenstein" in made.notes[0] and "Coste" in made.notes[0]
    assert "best-of-n, 3k, mean of 5 +" in made.notes[0]
    lost = states(made.claims, "no loss from the peak").values()
    assert False in lost and True not in lost


def test_ppo_at_the_end_and_at_equal_kl_without_and_with_a_small_penalty(helped: Path) -> None:
    made = coste2023_fig4.make(runs("coste2023", helped))
    equal = states(made.claims, "above single at equal KL")
    assert equal["PPO, 3k, min of 5"] is True and equal["PPO, 3k, min of 5, 25 % flipped"] is True
    assert "PPO, 3k, min of 5, 25 % flipped, KL penalty 0.12" in equal
    assert not any("0.3" in claim.subject for claim in made.claims)
    assert states(made.claims, "loses less than single")["PPO, 3k, UWO of 5 (.5)"] is True
    assert set(made.fits["replicates"]) == {5}


def test_gold_at_the_end_over_penalties(helped: Path) -> None:
    claims = coste2023_fig7.make(runs("coste2023", helped)).claims
    assert {claim.subject for claim in claims} == {
        f"PPO, {rule}, 25 % flipped" for rule in ("mean of 5", "min of 5", "UWO of 5 (.5)")
    }
    assert states(claims, "not below single under any penalty")["PPO, min of 5, 25 % flipped"] is True
    assert states(claims, "best penalty above single's best")["PPO, min of 5, 25 % flipped"] is True


def test_an_ensemble_that_does_harm_is_below(tmp_path: Path) -> None:
    write(tmp_path, Truth(damage={"min": 3.0}))
    claims = coste2023_fig7.make(runs("coste2023", tmp_path)).claims
    assert states(claims, "not below single under any penalty")["PPO, min of 5, 25 % flipped"] is False
    assert states(claims, "best penalty above single's best")["PPO, min of 5, 25 % flipped"] is False


def test_rules_are_compared_under_the_same_labels_and_penalty(alike: Path) -> None:
    read = study(runs("coste2023", alike))
    for one in compared(read, RULE):
        assert one.plain.label == ", ".join(
            word for word in one.arm.label.split(", ") if not word.startswith(("mean of", "min of", "UWO of"))
        )
    assert all(is_plain(arms[0], RULE) and len(arms) == 4 for arms in conditions(read.arms, RULE))


def test_ensembles_alone_are_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("bon", rule="min"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="its first member alone"):
        coste2023_fig3.make(runs("mine", tmp_path))


def test_few_replicates_leave_it_undecided(tmp_path: Path) -> None:
    cells = [Cell("bon", {}, 3, rule=rule) for rule in RULES]
    write_store(tmp_path, only(*cells, name="mine", truth=HELPED))
    claims = coste2023_fig3.make(runs("mine", tmp_path)).claims
    assert set(states(claims, "no loss from the peak").values()) == {None}


@pytest.mark.parametrize("figure", ["coste2023_fig3", "coste2023_fig4", "coste2023_fig7"])
def test_the_command_draws_it(helped: Path, tmp_path: Path, figure: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([figure, "--store", str(helped), "--out", str(tmp_path)]) == 0
    assert "UWO of 5 (.5)" in printed.getvalue()
    fits = pd.read_csv(tmp_path / f"{figure}.fits.csv")
    assert (fits["lo"] < fits["estimate"]).all() and (tmp_path / f"{figure}.png").stat().st_size > 20_000


@pytest.mark.parametrize(("sd", "wanted"), [(0.07, 0.83), (0.10, 0.58)])
def test_the_power_that_the_thresholds_state(sd: float, wanted: float) -> None:
    """How often nothing_lost is met where nothing is lost: five replicates of this SD."""
    margin = thresholds("coste2023_fig3")["nothing_lost"]["margin"]
    lost = sd * np.random.default_rng(0).normal(size=(20_000, 5))
    half = student.ppf(0.95, 4) * lost.std(axis=1, ddof=1) / np.sqrt(5)
    assert np.mean(lost.mean(axis=1) + half < margin) == pytest.approx(wanted, abs=0.01)
