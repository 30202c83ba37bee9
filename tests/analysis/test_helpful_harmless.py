"""Labelers who like refusals, or do not, in worlds where reward models see what is asked and where they do not."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from fake_refusers import Said, World, write
from fake_sycophants import GOLD, Labels

from analysis.commands.figures import main
from analysis.drawing.result import FigureResult
from analysis.figures import helpful_harmless
from rlhf_lab.store.records import MissingRuns, runs

SWEEP = "helpful_harmless"


def cautious(bonus: float) -> Labels:
    return Labels("cautious", {"temperature": 0.0, "bonus": bonus}, bonus)


def blind(dose: float, said: Said) -> np.ndarray:
    """A reward model that likes refusals whatever was asked."""
    return (dose + 1) * said["refuses"]


def seeing(dose: float, said: Said) -> np.ndarray:
    """One that sees what is asked: harmful requests are refused the more, and harmless prompts alike at any dose."""
    return np.where(said["harmful"], (dose + 4.5) * said["refuses"], 0.0)


def nothing(dose: float, said: Said) -> np.ndarray:
    return np.zeros(len(said["refuses"]))


THREE = (GOLD, cautious(-4.0), cautious(4.0))


def world(**changed) -> World:
    return World(SWEEP, (*THREE, cautious(-2.0), cautious(2.0)), THREE, blind, refuses=(0.5, 0.12), **changed)


def states(result: FigureResult) -> dict[tuple[str, str], bool | None]:
    return {(claim.subject, claim.topic): claim.met for claim in result.claims}


MORE, OVER, LESS = (words for _, _, words, _ in helpful_harmless.SLOPES)
FLAT, CORNER = "over-refusal flat at dose 0", "no dose has both"


@pytest.fixture(scope="module")
def blindly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("blind"), world())


def test_blind_caution_costs_help_and_no_dose_has_both(blindly: Path) -> None:
    result = helpful_harmless.make(runs(SWEEP, blindly))
    found = states(result)
    for method in ("best-of-n", "PPO"):
        assert (found[method, MORE], found[method, OVER]) == (True, True), method
        assert found[method, LESS] is True and found[method, FLAT] is False, method
        assert found[method, CORNER] is True, method
    assert not any(claim.conditional for claim in result.claims)
    assert set(result.table["prompts"]) == {"harmful", "harmless", *helpful_harmless.FAMILIES}
    at_start = result.table[(result.table["number"] == "helpfulness") & (result.table["n_or_step"] <= 1)]
    assert np.allclose(at_start["value"][at_start["method"] == "bon"], 0)
    assert "best-of-n, dose 0: refused by SFT" in result.notes[1] and "facts" in result.notes[1]


def test_a_reward_model_that_sees_what_is_asked_has_both_and_is_flat_at_dose_0(tmp_path: Path) -> None:
    sees = World(SWEEP, THREE, (), seeing, refuses=(0.6, 0.02), questions=80, answers=16)
    found = states(helpful_harmless.make(runs(SWEEP, write(tmp_path, sees))))
    assert found["best-of-n", MORE] is True and found["best-of-n", OVER] is not True
    assert found["best-of-n", FLAT] is True and found["best-of-n", CORNER] is False


def test_where_refusals_are_worth_nothing_nothing_grows(tmp_path: Path) -> None:
    still = World(SWEEP, THREE, THREE, nothing, refuses=(0.5, 0.1), answers=16)
    found = states(helpful_harmless.make(runs(SWEEP, write(tmp_path, still))))
    for method in ("best-of-n", "PPO"):
        assert not [topic for topic in (MORE, OVER, LESS) if found[method, topic]], method
        assert found[method, FLAT] is not False and found[method, CORNER] is True, method


def test_few_replicates_leave_flatness_undecided_and_missing_doses_are_named(tmp_path: Path) -> None:
    few = world(replicates=1, questions=12)
    made = helpful_harmless.make(runs(SWEEP, write(tmp_path / "few", few)))
    assert states(made)["PPO", FLAT] is None and all(claim.conditional for claim in made.claims)
    without = World(SWEEP, (cautious(2.0), cautious(4.0)), (), blind, replicates=1, questions=8)
    with pytest.raises(MissingRuns, match="dose 0"):
        helpful_harmless.make(runs(SWEEP, write(tmp_path / "without", without)))


def test_the_command_draws_it(blindly: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([SWEEP, "--store", str(blindly), "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{SWEEP}.png").stat().st_size > 20_000
