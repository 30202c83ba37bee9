"""Every rule of selection against going through every draw, its limits, and values worked by hand."""

import math
import time

import enumeration
import numpy as np
import pyarrow as pa
import pytest

from analysis.best_of_n import estimator, pessimism, soft_best_of_n
from analysis.best_of_n.mbr_utility import likeness
from analysis.best_of_n.rules import whole_table
from rlhf_lab.functional.divergence import best_of_n_bound

SCORES = np.array([[0.3, -1.2, 0.3, 1.4, 0.1], [2.0, -0.5, 0.4, -0.1, 0.2]])  # the first has a tie
VALUES = np.array([[[1.0, 2.0, -3.0, 0.5, 4.0], [0.0, 1.0, 5.0, -2.0, 2.5]]])
NS = np.array([1, 2, 3])


@pytest.mark.parametrize("inverse_temperature", [0.3, 2.0, 9.0])
def test_chances_of_soft_best_of_n_are_those_of_every_draw(inverse_temperature: float) -> None:
    chances = soft_best_of_n.chances(SCORES, NS, inverse_temperature)
    choice = enumeration.softmax(inverse_temperature)
    for q, scores in enumerate(SCORES):
        expected = np.stack([enumeration.chances(scores, n, choice) for n in NS], axis=1)
        assert chances[q] == pytest.approx(expected, abs=3e-7)
        assert soft_best_of_n.kl(SCORES, NS, inverse_temperature)[q] == pytest.approx(
            [enumeration.kl(chance) for chance in expected.T], abs=1e-6
        )


def test_values_of_soft_best_of_n_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_best_of_n, "DRAWS", 4000)
    means = soft_best_of_n.curves(SCORES, VALUES, NS, 2.0)[0]
    choice = enumeration.softmax(2.0)
    for q, scores in enumerate(SCORES):
        expected = [enumeration.expected(scores, VALUES[0, q], n, choice) for n in NS]
        assert means[q] == pytest.approx(expected, abs=0.08)  # the noise's SE is some .03


def test_infinitely_hard_soft_best_of_n_is_best_of_n() -> None:
    scores = np.random.default_rng(0).permuted(np.tile(np.arange(64.0), (3, 1)), axis=1)
    ranking, n = estimator.rank(scores), np.array([1, 4, 16])
    assert soft_best_of_n.kl(scores, n, 9.0) == pytest.approx(estimator.ranking_kl(ranking, n), abs=1e-3)
    with pytest.raises(ValueError, match="60 per SD is best-of-n"):
        soft_best_of_n.kl(scores, n, 60.0)
    values = np.random.default_rng(1).normal(size=(1, 3, 64))
    plain = estimator.ranked_curves(estimator.tie_averaged(ranking, values[0]), n)
    assert soft_best_of_n.curves(scores, values, n, 1e6)[0] == pytest.approx(plain)


def test_soft_best_of_many_is_the_tilt() -> None:
    """Of infinitely many Gaussian answers the choice is the exponential tilt: mean s, KL s^2/2."""
    scores = np.random.default_rng(2).normal(size=(200, 2048))
    assert soft_best_of_n.kl(scores, [512], 0.8).mean() == pytest.approx(0.32, abs=0.01)
    assert soft_best_of_n.curves(scores, scores[None], [512], 0.8).mean() == pytest.approx(0.8, abs=0.03)


def test_the_derivative_in_the_inverse_temperature() -> None:
    scores = np.random.default_rng(3).normal(size=(20, 32))
    value, step = scores - scores**2, 1e-4
    expected, slope = soft_best_of_n.response(scores, value, 8, 1.5)
    by_chances = (soft_best_of_n.chances(scores, 8, 1.5)[:, :, 0] * value).sum(axis=1)
    assert expected == pytest.approx(by_chances, abs=1e-6)
    (after, _), (before, _) = (soft_best_of_n.response(scores, value, 8, 1.5 + s) for s in (step, -step))
    assert slope == pytest.approx((after - before) / (2 * step), abs=1e-4)


def poisson_of(mean: float, answers: int) -> list[float]:
    return [
        math.exp(-(mean - 1)) * (mean - 1) ** (m - 1) / math.factorial(m - 1) for m in range(1, answers + 1)
    ]


def test_best_of_poisson_is_the_mixture_of_best_of_m() -> None:
    scores = np.random.default_rng(4).integers(6, size=(2, 9)).astype(float)  # ties
    values = np.random.default_rng(5).normal(size=(2, 9))
    ranking = estimator.rank(scores)
    ranked = estimator.tie_averaged(ranking, values)
    chance = np.array(poisson_of(1.3, 9))
    assert chance.sum() == pytest.approx(1, abs=1e-9)
    best_of_m = np.stack(
        [
            [enumeration.expected(s, v, m, enumeration.highest) for m in range(1, 10)]
            for s, v in zip(scores, values, strict=True)
        ]
    )
    assert estimator.poisson_curves(ranked, [1.0, 1.3]) == pytest.approx(
        np.stack([values.mean(axis=1), best_of_m @ chance], axis=1), abs=1e-8
    )


def test_kl_of_best_of_poisson_by_hand() -> None:
    # levels of mass 3/4 and 1/4, h(F) = F exp(m (F - 1)): the lower wins with 3/4 exp(-m/4)
    low = 0.75 * math.exp(-2 / 4)
    by_hand = low * math.log(low / 0.75) + (1 - low) * math.log((1 - low) / 0.25)
    kl = estimator.poisson_kl(estimator.rank(np.array([[0.0, 0.0, 0.0, 1.0]])), [1, 3])
    assert kl == pytest.approx(np.array([[0, by_hand]]))


def test_best_of_poisson_takes_no_more_answers_than_there_are() -> None:
    """Of a mean of 60 among 9, all nine nearly always; none of the chance is lost."""
    ranked = np.arange(9.0)[None]
    assert estimator.poisson_curves(ranked, [60.0])[0, 0] == pytest.approx(8.0, abs=1e-6)
    assert estimator.poisson_curves(np.ones((1, 9)), [4.0])[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("beta", [0.05, 0.6, 3.0])
def test_pessimism_against_every_draw(beta: float) -> None:
    choice = enumeration.pessimist(beta)
    values = pessimism.curves(SCORES, VALUES, NS, beta, partitions=6000)[0]
    kl = pessimism.kl(SCORES, NS, beta, drawn=8000)
    for q, scores in enumerate(SCORES):
        expected = [enumeration.expected(scores, VALUES[0, q], n, choice) for n in NS]
        assert values[q] == pytest.approx(expected, abs=0.06)
        exact = [enumeration.kl(enumeration.chances(scores, n, choice)) for n in NS]
        assert kl[q] == pytest.approx(exact, abs=0.02)


def test_the_level_of_pessimism_by_hand() -> None:
    # 0, 1, 3 and beta 1: the highest alone would have weight 3, which is relu(3 - 0) with the level at 0; with the
    # second, 2 (3 + 1 - 3) / 2 puts it at .5, so 3 and 1 have 2.5 and .5
    scores = np.array([0.0, 1.0, 3.0])
    assert pessimism.levels(scores, 1.0) == pytest.approx([0.5])
    assert pessimism.levels(scores, 1e-9) == pytest.approx([3.0])


@pytest.mark.parametrize("beta", [0.05, 0.6, 3.0])
def test_mean_weights_are_those_of_each_score_among_the_others(beta: float) -> None:
    rng = np.random.default_rng(9)
    ranked = np.sort(rng.normal(size=(3, 40)), axis=1)
    others = np.sort(rng.permuted(np.tile(ranked[:, None, None], (1, 2, 5, 1)), axis=3)[..., :7], axis=3)
    weights = pessimism.mean_weights(ranked, others, beta)
    for q, half, index in np.ndindex(weights.shape):
        with_answer = np.concatenate([others[q, half], np.full((5, 1), ranked[q, index])], axis=1)
        excess = ranked[q, index] - pessimism.levels(np.sort(with_answer, axis=1), beta)
        assert weights[q, half, index] == pytest.approx(np.maximum(excess, 0).mean() / beta, abs=1e-9)


def test_pessimism_with_a_vanishing_beta_is_best_of_n() -> None:
    scores = np.random.default_rng(6).normal(size=(40, 128))
    n, ranking = np.array([1, 2, 8, 32]), estimator.rank(scores)
    assert pessimism.kl(scores, n, 1e-4, drawn=12_000).mean(axis=0) == pytest.approx(
        estimator.ranking_kl(ranking, n).mean(axis=0), abs=0.03
    )
    plain = estimator.ranked_curves(np.sort(scores, axis=1), n).mean(axis=0)
    curve = pessimism.curves(scores, scores[None], n, 1e-9, partitions=200)[0].mean(axis=0)
    assert curve == pytest.approx(plain, abs=0.02)


def test_pessimism_stops_where_best_of_n_goes_on() -> None:
    """2503.21878: more answers change nothing once the level is known; w = relu(r - level) / beta of all answers."""
    scores = np.random.default_rng(7).normal(size=(64, 512))
    kl = pessimism.kl(scores, np.array([16, 64, 128]), 1.0).mean(axis=0)
    ordered = np.sort(scores, axis=1)
    limit = np.mean(
        [enumeration.kl(row) for row in np.maximum(ordered - pessimism.levels(ordered, 1.0), 0) / 512]
    )
    assert (np.diff(kl) > 0).all() and kl[-1] == pytest.approx(limit, abs=0.02)
    assert best_of_n_bound(128) > 8 * limit


def test_the_noise_of_pessimism_s_kl_is_small() -> None:
    scores, n = np.random.default_rng(10).normal(size=(128, 256)), np.array([2, 16, 64])
    kl, precise = (pessimism.kl(scores, n, 1.0, drawn=prompts).mean(axis=0) for prompts in (512, 8192))
    assert kl == pytest.approx(precise, abs=0.005)  # of .1 to .4 nats; with 512 prompts half of it


def test_likeness_is_the_cosine_with_the_mean_of_normalised_counts() -> None:
    answers = [[1, 1, 2], [1, 2], [3], [], [2, 2, 5, 7], [1, 1, 2], [9, 9], [9]]
    cosines = likeness(pa.chunked_array([pa.array(answers, pa.list_(pa.int32()))]), 4)
    for q in range(2):
        counts = np.stack([np.bincount(ids, minlength=10) for ids in answers[4 * q : 4 * q + 4]]).astype(
            float
        )
        unit = counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)
        mean = unit.mean(axis=0)
        assert cosines[q] == pytest.approx(unit @ mean / np.linalg.norm(mean))
    assert cosines[0, 3] == 0 and cosines[0, 0] > cosines[0, 2]


def table_rows(token_ids: list[list[int]], proxy: list[float]) -> pa.Table:
    """Two answers to each prompt."""
    count = len(proxy)
    columns = {
        "prompt_id": np.arange(count) // 2,
        "question_id": np.arange(count) // 2,
        "finished": np.ones(count, dtype=bool),
        "gold": np.arange(float(count)),
        "proxy": np.array(proxy),
        "token_ids": token_ids,
    }
    return pa.table(columns)


def test_mbr_weighs_likeness_against_the_proxy() -> None:
    rows = table_rows([[1], [1, 1, 1], [2, 3], [2, 4, 4]], [0.0, 1.0, 0.0, 1.0])
    table = whole_table(rows)
    assert table.like is not None
    gap = table.score[:, 1] - table.score[:, 0]
    assert gap == pytest.approx(np.sqrt(2))  # 1 in SDs: of two answers a gap of 1 is an SD of 1/sqrt(2)
    expected = table.score + 0.5 * table.like
    assert table.near_others(0.5) == pytest.approx(expected)
    chosen = table.expected("MBRBestOfN", {"proximity": 0.5}, [2])
    assert chosen.values[table.names.index("gold"), :, 0] == pytest.approx(
        [[0, 1][expected[0].argmax()], [2, 3][expected[1].argmax()]]
    )


def test_answers_that_are_all_alike_leave_the_proxy_alone() -> None:
    """Likeness that differs by rounding is not blown up to SDs of 1."""
    alike = table_rows([[1, 2, 3, 4, 5, 6, 7]] * 6, [0.0, 1.0, 3.0, 2.0, 5.0, 4.0])
    table = whole_table(alike)
    plain = whole_table(alike.drop_columns(["token_ids"]))
    policy = {"proximity": 3.0}
    best_of_n = plain.expected("BestOfN", {}, [2])
    assert table.expected("MBRBestOfN", policy, [2]).values == pytest.approx(best_of_n.values)
    with pytest.raises(ValueError, match="token_ids"):
        plain.expected("MBRBestOfN", policy, [2])


def test_the_size_of_a_real_run_takes_seconds() -> None:
    """512 prompts of 512 answers, six values, every n: measured at .2 s for the soft rule, .15 s for its KL."""
    rng = np.random.default_rng(8)
    scores, values = rng.normal(size=(512, 512)), rng.normal(size=(6, 512, 512))
    n, start = estimator.grid(512), time.process_time()
    soft_best_of_n.curves(scores, values, n, 2.0)
    soft_best_of_n.kl(scores, n, 2.0)
    pessimism.curves(scores, values, n, 1.0)
    pessimism.kl(scores, n, 1.0)
    assert time.process_time() - start < 9  # measured: 2.9 s in all
