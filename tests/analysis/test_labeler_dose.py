"""Labelers who like a sure tone or length, in worlds where reward models take that over and where they do not."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from fake_answers import Said
from fake_refusers import World, write
from fake_sycophants import GOLD, Labels

from analysis.commands.figures import main
from analysis.drawing.result import FigureResult
from analysis.figures import labeler_dose
from analysis.runs.arms import Unsuited
from rlhf_lab.store.records import MissingRuns, runs

NAME = labeler_dose.NAME
GROWS, COSTS, FLAT = "grows with the bonus", "costs gold", "flat at dose 0"


def liking(labeler: str, *doses: float) -> tuple[Labels, ...]:
    return tuple(Labels(labeler, {"temperature": 0.0, "bonus": dose}, dose) for dose in doses)


def taken_over(dose: float, said: Said) -> np.ndarray:
    """Gold and the bonus for a sure tone; no length."""
    return said["gold"] + dose * (said["sure"] - said["unsure"])


def by_gold(dose: float, said: Said) -> np.ndarray:
    return said["gold"]


def long_winded(dose: float, said: Said) -> np.ndarray:
    """Likes length at any dose, 0 too."""
    return said["gold"] + (0.1 + dose) * said["tokens"]


def result(root: Path, likes, bon: tuple[Labels, ...], **size) -> FigureResult:
    world = World(NAME, bon, (), likes, **({"questions": 40, "answers": 24} | size))
    return labeler_dose.make(runs(NAME, write(root, world)))


def states(made: FigureResult) -> dict[tuple[str, str], bool | None]:
    return {(claim.subject, claim.topic): claim.met for claim in made.claims}


SURE, LONG = liking("confident", 1, 2, 4), liking("length", 0.1, 0.2, 0.4)


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(NAME, (GOLD, *SURE, *LONG), (), taken_over, questions=40, answers=24)
    return write(tmp_path_factory.mktemp("sure"), world)


def test_a_taste_that_is_taken_over_grows_and_costs_gold(sure: Path) -> None:
    found = states(labeler_dose.make(runs(NAME, sure)))
    assert found["confident", GROWS] is True and found["confident", COSTS] is True
    assert found["length", GROWS] is not True and found["confident", FLAT] is not False


def test_where_nothing_is_taken_over_nothing_grows(tmp_path: Path) -> None:
    found = states(result(tmp_path, by_gold, (GOLD, *SURE, *LONG)))
    assert not any(met for (_, topic), met in found.items() if topic != FLAT)


def test_a_reward_model_of_gold_that_likes_length_is_not_flat(tmp_path: Path) -> None:
    made = result(tmp_path, long_winded, (GOLD, *LONG))
    found = states(made)
    assert found["length", FLAT] is False and found["length", GROWS] is True
    assert {subject for subject, _ in found} == {"length"} == set(made.table["labeler"])


def test_the_rise_is_that_of_the_least_squares_line(tmp_path: Path) -> None:
    made = result(tmp_path, taken_over, (GOLD, *SURE), replicates=2)
    rows = made.table[made.table["number"] == "sure"]
    slope = np.polyfit(rows["dose"], rows["value"], 1)[0]
    claim = next(claim for claim in made.claims if claim.topic == GROWS)
    assert claim.measured == pytest.approx(4 * slope) and claim.replicates == 2
    fit = made.fits[made.fits["parameter"] == "slope of sure on the dose"]
    assert fit["estimate"].item() == pytest.approx(slope)
    assert fit["note"].item() == "95 % interval"


def test_missing_doses_and_unscored_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingRuns, match="dose 0"):
        result(tmp_path / "no gold", taken_over, SURE, replicates=1, questions=8)
    with pytest.raises(MissingRuns, match="confident or length"):
        result(tmp_path / "gold alone", taken_over, (GOLD,), replicates=1, questions=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fake_refusers.BEHAVIOUR", ("claim",))
        with pytest.raises(Unsuited, match=r"behaviour\.sure.*score\.behaviour=true"):
            result(tmp_path / "unscored", taken_over, (GOLD, *SURE), replicates=1, questions=8)


def test_the_command_draws_it(sure: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([NAME, "--store", str(sure), "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{NAME}.png").stat().st_size > 20_000
