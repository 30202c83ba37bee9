"""Theorem 3 in worlds where it is known, and what its claims say where labelers are pleased, or nobody is."""

from pathlib import Path

import numpy as np
import pytest
from fake_sycophants import GOLD, World, sycophantic, write
from world_of_sycophancy import Agreement, w5, w5_best_of_n

from analysis.best_of_n.estimator import question_curves
from analysis.figures import shapira2026_theory
from analysis.figures.shapira2026_theory import covariance_shift
from analysis.worlds.world import Size
from rlhf_lab.functional.intervals import mean_and_se
from rlhf_lab.store.records import MissingRuns, runs

N = np.array([1, 2, 4, 8, 16, 32])
SIZE = Size(prompts=300, questions=300, answers=128)
BONUSES = (GOLD, sycophantic(-2.0), sycophantic(2.0))


@pytest.mark.parametrize("gap", [-0.8, 0.0, 0.5])
def test_the_covariance_is_that_of_the_theorem(gap: float) -> None:
    world = Agreement(gap=gap)
    sample = w5(np.random.default_rng(0), SIZE, world)
    mean, se = mean_and_se(covariance_shift(sample.reward, sample.agrees, N))
    exact = w5_best_of_n(N, world)
    assert mean[0] == pytest.approx(0, abs=1e-9) and (np.abs(mean - exact)[1:] < 3.5 * se[1:]).all()


def test_on_one_table_it_is_the_estimator_itself_also_where_rewards_tie() -> None:
    sample = w5(np.random.default_rng(0), SIZE, Agreement())
    reward = np.round(sample.reward, 1)
    shift = question_curves(reward, sample.agrees, N) - sample.agrees.mean(axis=1)[:, None]
    np.testing.assert_allclose(covariance_shift(reward, sample.agrees, N), shift, atol=1e-9)


def states_of(root: Path, **changed) -> dict[tuple[str, str], bool | None]:
    write(root, World(bon=BONUSES, ppo=(), **changed))
    result = shapira2026_theory.make(runs("sycophancy", root))
    assert all(claim.by_construction == claim.topic.startswith("theory") for claim in result.claims)
    assert set(result.table["dose"]) == {-2, 0, 2}
    return {(claim.subject, claim.topic): claim.met for claim in result.claims}


def test_the_sign_flips_with_the_labelers_bonus(tmp_path: Path) -> None:
    met = states_of(tmp_path)
    assert met["best-of-n", "sign flips"] is True
    assert sum(topic == "theory minus shift" for _, topic in met) == 3


def test_where_nothing_pleases_no_sign_flips(tmp_path: Path) -> None:
    assert states_of(tmp_path, liking=lambda dose: 0.0)["best-of-n", "sign flips"] is False


def test_a_reward_model_that_likes_what_pleases_whoever_labelled_has_one_sign(tmp_path: Path) -> None:
    met = states_of(tmp_path, liking=lambda dose: 1.0)
    assert met["best-of-n", "sign flips"] is False


def test_a_covariance_with_another_reward_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another(select: np.ndarray, value: np.ndarray, n: np.ndarray) -> np.ndarray:
        return covariance_shift(np.roll(select, 1, axis=1), value, n)

    monkeypatch.setattr(shapira2026_theory, "covariance_shift", of_another)
    states = states_of(tmp_path)
    assert states["best-of-n, 3k, labels of sycophantic bonus 2", "theory minus shift"] is False


def test_trained_policies_alone_are_no_such_figure(tmp_path: Path) -> None:
    write(tmp_path, World(bon=(), replicates=1, questions=4))
    with pytest.raises(MissingRuns, match="best-of-n"):
        shapira2026_theory.make(runs("sycophancy", tmp_path))
