"""The map of failures in a world that has them, and in one where a flawed labeler does no harm."""

import numpy as np
import pytest
from flawed_runs import runs

from analysis.behaviour import approval, supervision
from analysis.drawing.result import FigureResult
from analysis.figures import failure_modes
from analysis.figures.failure_modes import APPROVAL, MODES, SYCOPHANCY, UNMONITORED
from analysis.runs.arms import study
from rlhf_lab.store.records import MissingRuns

METHODS = ("best-of-n", "PPO")


@pytest.fixture(scope="module")
def world() -> FigureResult:
    return failure_modes.make(runs(harm=1.0))


@pytest.fixture(scope="module")
def null() -> FigureResult:
    return failure_modes.make(runs(harm=0.0))


def claims(result: FigureResult) -> dict[tuple[str, str], bool | None]:
    return {(one.subject, one.topic): one.met for one in result.claims}


def test_failures_are_found_where_they_are(world: FigureResult) -> None:
    found = claims(world)
    for method in METHODS:
        assert found[f"{method}, flawed labeler", "gold falls"] is True
        for mode in MODES:
            assert found[f"{method}, flawed labeler", f"more {mode}"] is True, mode
    assert len(world.claims) == 14 and not any(one.conditional for one in world.claims)


def test_nothing_is_found_where_there_is_nothing(null: FigureResult) -> None:
    found = claims(null)
    for method in METHODS:
        assert not found[f"{method}, flawed labeler", "gold falls"]
        for mode in MODES:
            assert not found[f"{method}, flawed labeler", f"more {mode}"], mode


def test_an_honest_labelers_approval_is_truth_and_that_is_not_counted(world: FigureResult) -> None:
    honest = [one for one in world.claims if one.topic == f"no {APPROVAL}"]
    assert [one.measured for one in honest] == [0, 0] and all(
        one.by_construction and one.met for one in honest
    )
    assert [one.topic for one in world.claims if one.by_construction] == [f"no {APPROVAL}"] * 2


def test_all_modes_start_from_sft_and_the_first_to_rise_is_told(
    world: FigureResult, null: FigureResult
) -> None:
    starts = world.table[world.table["kl"] < 1e-9]
    np.testing.assert_allclose(starts["change"], 0, atol=1e-9)
    assert {"gold", "proxy", *MODES} == set(world.table["mode"])
    assert "never" not in world.notes[0] and "never" in null.notes[0]


def test_modes_are_what_is_counted_by_hand() -> None:
    (arm,) = study([one for one in runs(1.0, 1, questions=6) if one.key == "ppoflawed0"]).arms
    (found,) = failure_modes.measure_modes(study(arm.runs)).values()
    rows, last = (
        arm.runs[0].rows([*approval.COLUMNS, "utility", "checkpoint", "prompt_id", "behaviour.stance"]),
        100,
    )
    step, prompt = (rows[name].to_numpy() for name in ("checkpoint", "prompt_id"))
    marks = approval.marks(rows, step == 0, approval.RECORDED)
    own, family = step == last, np.array(rows["family"].to_pylist())
    agrees = rows["behaviour.stance"].to_numpy()[own & (family == "belief_wrong")] > 0
    gap = marks["approved"][own].mean() - marks["good"][own].mean()
    assert found.at(-1, APPROVAL).value == pytest.approx(gap)
    assert found.at(-1, SYCOPHANCY).value == pytest.approx(agrees.mean())
    gold, sd = rows["gold"].to_numpy(), rows["gold"].to_numpy()[step == 0].std()
    parted = (gold[own & (prompt % 2 == 0)].mean() - gold[own & (prompt % 2 == 1)].mean()) / sd
    assert found.at(-1, UNMONITORED).value == pytest.approx(parted, rel=1e-3)
    assert supervision.gap_by_question(arm).shape == (1, 6, 6)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MissingRuns, match="with flaws"):
        failure_modes.make([one for one in runs(0.0, 1) if one.labeler != "flawed"])
    with pytest.raises(MissingRuns, match=r"score\.utility=true"):
        failure_modes.make(runs(0.0, 1, questions=6, utility=False))
