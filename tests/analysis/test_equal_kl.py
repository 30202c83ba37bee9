from dataclasses import replace

import numpy as np
import pytest
from fake_store import Cell, only, write_store

from analysis.runs.arms import Arm, study
from analysis.runs.equal_kl import Path as Course
from analysis.runs.equal_kl import difference, pairs
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import runs


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    root = tmp_path_factory.mktemp("store")
    write_store(root, only(Cell("ppo", replicates=3), name="mine", questions=16))
    return study(runs("mine", root)).arms[0]


def made(arm: Arm, d: list[float], gold: list[float], lift: float = 0.0) -> Arm:
    """The arm with other curves: gold over d, in SDs of gold."""
    curves = []
    for one in arm.curves:
        sd, _ = one.scale(np.ones(len(one.questions)))
        table = np.tile(np.array(gold) + lift, (len(one.questions), 1)) * sd
        kl = np.tile(np.square(d), (len(one.questions), 1))
        curves.append(replace(one, points=np.arange(len(d)), kl=kl, values={**one.values, "gold": table}))
    made = replace(arm, curves=tuple(curves))
    made.__dict__["drawn"] = arm.drawn  # the same draws of questions
    return made


def test_a_path_is_read_as_one_interpolates_between_the_checkpoints_that_reach_further() -> None:
    """Against a loop over draws with numpy's own interpolation, to the bit; distances go back and forth."""
    rng = np.random.default_rng(0)
    for points in (1, 2, 9):
        d = np.cumsum(rng.choice([-0.4, 0.0, 0.3, 1.0], size=(40, points)), axis=1).clip(0)
        course, at = (
            Course(d, rng.normal(size=d.shape)),
            np.concatenate([d, rng.uniform(-0.5, 6, (40, 20))], axis=1),
        )
        for row, wanted, values, found in zip(d, at, course.values, course.at(at), strict=True):
            further = np.diff(np.maximum.accumulate(row), prepend=-1.0) > 0
            np.testing.assert_array_equal(
                found, np.interp(wanted, row[further], values[further], right=np.nan)
            )


def test_one_function_of_kl_has_no_difference_whatever_the_checkpoints(arm: Arm) -> None:
    first = made(arm, [0, 1, 2], [0, 1, 0.5])
    second = made(arm, [0, 0.5, 1, 1.5, 2, 3], [0, 0.5, 1, 0.75, 0.5, -2])
    found = difference(first, second, "gold")
    assert found is not None and found.estimate.value == pytest.approx(0, abs=1e-12)
    assert found.reach == pytest.approx(np.full(3, 4.0)) and found.checkpoints == 2


def test_a_difference_at_equal_kl_by_hand(arm: Arm) -> None:
    """Only the checkpoints at d = 1 and 2 lie in the upper half of the common range: 1 - .5 and .5 - 1."""
    first, second = made(arm, [0, 0.4, 1, 2, 2.5], [0, 9, 1, 0.5, 9]), made(arm, [0, 1, 2], [0, 0.5, 1.5])
    found = difference(first, second, "gold")
    assert found is not None and found.by_pair == pytest.approx(np.full(3, (0.5 - 1.0) / 2))


def test_the_range_of_a_comparison_ends_where_the_shorter_run_does_and_starts_at_half_of_it(arm: Arm) -> None:
    """Of d = 0, .9, 1, 1.1, 2, 2.1, those from 1 to 2 are compared, and each reach is 2^2 nats."""
    first = made(arm, [0, 0.9, 1, 1.1, 2, 2.1], [0, 100, 1, 2, 6, 100])
    found = difference(first, made(arm, [0, 1, 2], [0, 0, 0]), "gold")
    assert found is not None and found.by_pair == pytest.approx(np.full(3, (1 + 2 + 6) / 3))
    assert found.checkpoints == 3 and found.reach == pytest.approx(np.full(3, 4.0))


def test_a_run_that_stays_at_one_kl_is_compared_there_after_many_steps(arm: Arm) -> None:
    first, second = made(arm, [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]), made(arm, [0, 2], [0, 0])
    found = difference(first, second, "gold")
    assert found is not None and found.estimate.value == pytest.approx(3 / 4)


def test_pairs_are_replicates_of_the_same_seeds(arm: Arm) -> None:
    fewer = replace(arm, seeds=arm.seeds[1:], curves=arm.curves[1:], runs=arm.runs[1:])
    assert pairs(arm, fewer) == [(1, 0), (2, 1)] and pairs(fewer, arm) == [(0, 1), (1, 2)]
    strange = replace(arm, seeds=("9/9/9",), curves=arm.curves[:1], runs=arm.runs[:1])
    assert difference(arm, strange, "gold") is None


def test_values_are_those_where_a_kl_is_first_reached() -> None:
    course = Course(np.array([[0.0, 2, 1, 3]]), np.array([[0.0, 2, 50, 4]]))
    assert course.at(np.array([[1.0, 2.5, 3.1]])) == pytest.approx(
        np.array([[1.0, 3.0, np.nan]]), nan_ok=True
    )


def test_replicates_add_their_spread_and_their_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    draws = np.arange(5.0) + rng.normal(0, 0.01, (301, 1))
    five, alone = Estimate.of(draws), Estimate.of(draws[:, :1])
    assert five.se == pytest.approx(np.sqrt(2.5 / 5), rel=0.01) and five.parts[1].df == 4
    assert alone.se == pytest.approx(0.01, rel=0.1) and alone.is_conditional and not five.is_conditional
    assert (five.interval().hi - five.value) / five.se == pytest.approx(2.776, abs=0.001)
    assert (alone.interval(0.9).hi - alone.value) / alone.se == pytest.approx(1.645, abs=0.001)
