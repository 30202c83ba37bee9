"""The evaluation ceiling in a world that has one, and where labelers can check everything."""

import contextlib
import io
from pathlib import Path

import fake_labelers
import numpy as np
import pyarrow as pa
import pytest
from fake_labelers import Labelled

from analysis.behaviour import approval
from analysis.behaviour.approval import EVERYTHING
from analysis.commands.figures import main
from analysis.figures import ceiling, wen2024
from analysis.runs.arms import study
from analysis.statistics.claims import Claim
from rlhf_lab.config.labelers import Limited
from rlhf_lab.scoring.labelers import utility
from rlhf_lab.store.records import MissingRuns, runs

METHODS = ("best-of-n", "PPO")
LIMITED, CONTROL = (f"3k, labels of limited competence {competence}" for competence in (0, 4))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ceiling")
    fake_labelers.write(root, Labelled())
    return root


@pytest.fixture(scope="module")
def null(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("null")
    fake_labelers.write(root, Labelled(ceiling=False))
    return root


def claims(figure, root: Path) -> dict[tuple[str, str], Claim]:
    return {(one.subject, one.topic): one for one in figure.make(runs("ceiling", root)).claims}


def test_approval_rises_correctness_stays_and_errors_rise_under_a_ceiling(world: Path) -> None:
    found = claims(wen2024, world)
    for method in METHODS:
        of = f"{method}, {LIMITED}"
        for topic in ("approval rises", "FPR rises", "FPR beyond who can check", "FPR beyond the control"):
            assert found[of, topic].met is True and found[of, topic].replicates == 5, topic
        assert found[f"{method}, {CONTROL}", "FPR rises"].met is not True
    assert found[f"PPO, {LIMITED}", "correctness stays"].met is not False


def test_who_can_check_everything_is_not_fooled(null: Path) -> None:
    found = claims(wen2024, null)
    for method in METHODS:
        for label in (LIMITED, CONTROL):
            of = f"{method}, {label}"
            assert found[of, "approval rises"].met is True  # and rightly so
            assert found[of, "correctness stays"].met is False and not found[of, "FPR rises"].met
        for topic in ("FPR beyond who can check", "FPR beyond the control"):
            assert not found[f"{method}, {LIMITED}", topic].met


def test_truth_peaks_later_and_the_gap_closes_with_competence(world: Path) -> None:
    result = ceiling.make(runs("ceiling", world))
    found = {(one.subject, one.topic): one for one in result.claims}
    assert found["best-of-n", "truth peaks later with competence"].met is True
    lost = result.fits[result.fits["parameter"] == "truth lost from its peak to the end"]
    assert (lost.loc[lost["competence"] < 1, "lo"] > 0.1).all()  # of who can check facts at most
    for method in METHODS:
        assert found[method, "gap grows as competence falls"].met is True
        flat = found[f"{method}, {CONTROL}", "no gap"]
        assert flat.met is True and flat.by_construction and flat.measured == 0
        assert found[f"{method}, {CONTROL}", "truth is kept"].met is not False


def test_without_a_ceiling_competence_is_not_said_to_matter(null: Path) -> None:
    found = claims(ceiling, null)
    assert not found["best-of-n", "truth peaks later with competence"].met
    for method in METHODS:
        assert found[method, "gap grows as competence falls"].met is False
        assert found[f"{method}, {CONTROL}", "no gap to competence 0"].met is True


@pytest.mark.parametrize("name", ["wen2024", "ceiling"])
def test_the_command_draws_it(name: str, world: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([name, "--store", str(world), "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.png").stat().st_size > 20_000


def test_runs_without_behaviour_or_another_labeler_are_named(tmp_path: Path) -> None:
    small = {"competences": (0, 4), "trained": (0,), "replicates": 1, "questions": 10}
    fake_labelers.write(tmp_path, Labelled(behaviour=False, **small))
    with pytest.raises(MissingRuns, match=r"score\.behaviour=true"):
        ceiling.make(runs("ceiling", tmp_path))
    fake_labelers.write(tmp_path / "one", Labelled(**{**small, "competences": (0,)}))
    for figure, words in ((ceiling, "two competences"), (wen2024, "check everything")):
        with pytest.raises(MissingRuns, match=words):
            figure.make(runs("ceiling", tmp_path / "one"))


# --- by hand ------------------------------------------------------------------------------------------------

ROWS = pa.table(
    {  # two kinds of prompt; the second is a sum of two operations
        "family": ["fact"] * 4 + ["arithmetic"] * 4,
        "gold": [1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0],
        "behaviour.believed": [0.0, 0.0, 0.0, 0.0, 4.0, 3.0, 2.0, 1.0],
        "behaviour.difficulty": np.array([0, 0, 0, 0, 2, 2, 2, 2], np.float32),
        "behaviour.claim": np.array([-1, 1, 0, 1, -1, 1, -1, 1], np.float32),
    }
)
EVERY = np.ones(8, dtype=bool)


@pytest.mark.parametrize("competence", [-1, 0, 1, 2, 4])
def test_utility_is_that_of_the_labeler(competence: int) -> None:
    seen = {"gold": "gold", "believed": "behaviour.believed", "difficulty": "behaviour.difficulty"}
    seen = {name: ROWS[column].to_numpy()[None] for name, column in seen.items()}
    theirs = utility(Limited(temperature=0, competence=competence), seen)[0]
    np.testing.assert_array_equal(approval.utility(ROWS, competence), theirs)


def test_the_bar_is_the_median_of_the_same_family_and_difficulty() -> None:
    found = approval.marks(ROWS, EVERY, 1)
    assert found["approved"].tolist() == [False, False, True, True, True, True, False, False]
    assert found["good"].tolist() == [False, False, True, True] * 2
    assert found["approved_wrong"].tolist() == [False] * 4 + [True] + [False] * 3
    assert found["rejected_right"].tolist() == [False, True] + [False] * 5 + [True]
    assert found["not_claiming"].sum() == 1 and found["claiming"].sum() == 7
    first = np.array([True, False] * 4)  # SFT's answers alone set it: 2 and 20 are not above 2 and 20
    found = approval.marks(ROWS, first, EVERYTHING)
    assert found["approved"].tolist() == [False, False, True, True] * 2


def test_rates_are_shares_of_answers_at_every_checkpoint(tmp_path: Path) -> None:
    fake_labelers.write(tmp_path, Labelled(competences=(0,), trained=(0,), replicates=1, questions=10))
    arm = next(arm for arm in study(runs("ceiling", tmp_path)).arms if arm.method == "ppo")
    found, rows = approval.rates(arm), arm.runs[0].rows()
    claim, step = rows["behaviour.claim"].to_numpy(), rows["checkpoint"].to_numpy()
    marks = approval.marks(rows, step == 0, 0)
    for place, one in enumerate(arm.curves[0].points):
        wrong = (step == one) & (claim < 0)
        assert found.at("fpr", place).value == pytest.approx(marks["approved"][wrong].mean())
        assert found.at("correct", place).value == pytest.approx(
            (claim[step == one] > 0).sum() / (claim[step == one] != 0).sum()
        )
        assert found.at("no_claim", place).value == pytest.approx((claim[step == one] == 0).mean())


def test_the_slope_is_that_of_least_squares() -> None:
    rng, places = np.random.default_rng(0), [-1, 0, 2]
    numbers = rng.normal(size=(3, 4, 2))
    expected = np.polyfit(places, numbers.reshape(3, -1), 1)[0].reshape(4, 2)
    np.testing.assert_allclose(approval.slope(list(numbers), places), expected)
