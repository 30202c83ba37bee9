"""Labelers: whom they prefer, and how often they are wrong."""

import numpy as np
import pytest

from rlhf_lab.config.labelers import (
    Boltzmann,
    Cautious,
    Confident,
    Flawed,
    Flip,
    GoldArgmax,
    Labeler,
    Length,
    Limited,
    Mixture,
    Pool,
    Sycophantic,
    Tone,
    Vulnerable,
)
from rlhf_lab.scoring.labelers import pairs_of, prefers_first, settled, utility

CLEAR = np.tile([[2.0, 0.0], [0.0, 2.0]], (5000, 1))  # (N, 2) gold of both answers
RIGHT = CLEAR[:, 0] > CLEAR[:, 1]


def labels(labeler, gold=CLEAR, seed=0, **more):
    """The side that is preferred in each pair, as a label says it."""
    rng = np.random.default_rng(seed)
    return settled(prefers_first(labeler, {"gold": gold, **more}, rng), rng).squeeze()


def test_argmax_is_always_right_and_tosses_a_coin_on_ties():
    assert (labels(GoldArgmax()) == RIGHT).all()
    assert labels(GoldArgmax(), np.zeros((10_000, 2))).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_flip_is_wrong_at_its_rate(rate):
    assert (labels(Flip(rate=rate)) != RIGHT).mean() == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_boltzmann_is_right_with_bradley_terry_probability(temperature):
    expected = 1 / (1 + np.exp(-2.0 / temperature))
    drawn = Boltzmann(soft=False, temperature=temperature)
    assert (labels(drawn) == RIGHT).mean() == pytest.approx(expected, abs=0.02)
    share = prefers_first(Boltzmann(soft=True, temperature=temperature), {"gold": CLEAR}, None)
    np.testing.assert_allclose(share[:, 0], np.where(RIGHT, expected, 1 - expected))


def test_a_drawn_ranking_contradicts_itself_nowhere_and_has_bradley_terry_pairs():
    gold = np.tile([3.0, 2.0, 1.0, 0.0], (20_000, 1))
    wins = prefers_first(Boltzmann(soft=False, temperature=1.0), {"gold": gold}, np.random.default_rng(0))
    first, second = pairs_of(4)
    count = np.zeros(gold.shape)
    for pair, (i, j) in enumerate(zip(first, second, strict=True)):
        count[:, i] += wins[:, pair]
        count[:, j] += 1 - wins[:, pair]
    assert (np.sort(count, axis=1) == [0, 1, 2, 3]).all()  # a ranking: no circles
    expected = 1 / (1 + np.exp(-(gold[0, first] - gold[0, second])))
    np.testing.assert_allclose(wins.mean(axis=0), expected, atol=0.015)


def test_labels_depend_on_the_generator_only():
    assert (labels(Flip(rate=0.25)) == labels(Flip(rate=0.25))).all()
    assert (labels(Flip(rate=0.25)) != labels(Flip(rate=0.25), seed=1)).any()


def test_an_unknown_labeler_is_named():
    with pytest.raises(TypeError, match=r"prefers_first\.register"):
        labels(Labeler())


def seen(count=4000, seed=0):
    rng = np.random.default_rng(seed)
    claim, courtesy = rng.normal(size=(2, count, 2))
    return {
        "gold": claim + courtesy,
        "gold.content": claim + courtesy,
        "gold.claim": claim,
        "gold.courtesy": courtesy,
        "tokens": rng.integers(5, 20, size=(count, 2)).astype(float),
    }


def pool(**changed):
    return Pool(**{"soft": True, "annotators": 12, "votes": 5, "bias": 0.0, "temperature": 0.01} | changed)


def test_a_pool_without_biases_or_noise_is_gold():
    answers = seen()
    share = prefers_first(pool(), answers, np.random.default_rng(0))
    right = (answers["gold"][:, 0] > answers["gold"][:, 1]).astype(float)
    assert (share[:, 0] == right).mean() > 0.99


def test_biased_annotators_disagree_and_a_majority_is_right_more_often_than_one_of_them():
    answers = seen()
    right = answers["gold"][:, 0] > answers["gold"][:, 1]

    def judged(votes):
        rng = np.random.default_rng(1)
        share = prefers_first(pool(bias=1.5, votes=votes), answers, rng)
        return share, settled(share, rng)[:, 0] == right

    (share, many), (_, one) = judged(11), judged(1)
    assert ((share > 0) & (share < 1)).mean() > 0.05
    assert many.mean() - one.mean() > 3 * np.sqrt(0.5 / len(right))


def test_votes_of_a_pool_are_those_of_different_annotators():
    everybody = prefers_first(pool(bias=2.0, votes=12), seen(), np.random.default_rng(3))
    again = prefers_first(pool(bias=2.0, votes=12), seen(), np.random.default_rng(3))
    assert (everybody == again).all()
    steps = everybody * 12
    np.testing.assert_allclose(steps, np.round(steps))


def test_even_votes_are_settled_by_a_coin():
    assert settled(np.full((10_000, 1), 0.5), np.random.default_rng(0)).mean() == pytest.approx(0.5, abs=0.02)


# --- biased and limited labelers ------------------------------------------------------------------------------

SEEN = {  # one prompt, two answers: the first is better, the second pleases, is sure, refuses and is longer
    "gold": np.array([[1.0, 0.0]]),
    "tokens": np.array([[5.0, 10.0]]),
    "behaviour.pleases": np.array([[-1.0, 1.0]]),
    "behaviour.sure": np.array([[0.0, 1.0]]),
    "behaviour.unsure": np.array([[1.0, 0.0]]),
    "behaviour.refuses": np.array([[0.0, 1.0]]),
    "believed": np.array([[0.0, 2.0]]),
    "difficulty": np.array([[1, 1]]),
}


@pytest.mark.parametrize(
    "labeler, worth",
    [
        (Sycophantic(temperature=0, bonus=0), [1, 0]),
        (Sycophantic(temperature=0, bonus=0.75), [0.25, 0.75]),
        (Sycophantic(temperature=0, bonus=-0.75), [1.75, -0.75]),
        (Cautious(temperature=0, bonus=0), [1, 0]),
        (Cautious(temperature=0, bonus=3), [1, 3]),
        (Cautious(temperature=0, bonus=-3), [1, -3]),
        (Confident(temperature=0, bonus=1), [0, 1]),
        (Length(temperature=0, bonus=0.1), [1.5, 1.0]),
        (Limited(temperature=0, competence=1), [1, 0]),
        (Limited(temperature=0, competence=0), [0, 2]),
        (Flip(rate=0.25), [1, 0]),
    ],
)
def test_utility_and_what_is_preferred_by_it(labeler, worth):
    np.testing.assert_allclose(utility(labeler, SEEN), [worth])
    if not isinstance(labeler, Flip):
        assert prefers_first(labeler, SEEN, None)[0, 0] == (worth[0] > worth[1])


def test_a_biased_labeler_with_a_temperature_follows_bradley_terry():
    seen = {name: np.repeat(value, 20_000, axis=0) for name, value in SEEN.items()}
    drawn = prefers_first(Sycophantic(temperature=2.0, bonus=1.0), seen, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(1 / (1 + np.exp(0.5)), abs=0.01)  # 0 against 1


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mixture_asks_each_labeler_about_its_share_of_the_prompts(share):
    seen = {name: np.repeat(value, 20_000, axis=0) for name, value in SEEN.items()}
    mixed = Mixture(first=GoldArgmax(), second=Sycophantic(temperature=0, bonus=2.0), share=share)
    assert (prefers_first(mixed, seen, np.random.default_rng(0)) == 0).mean() == pytest.approx(
        share, abs=0.01
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_vulnerable_are_told_by_their_tone_and_nobody_else_is_asked_of_the_second(share):
    seen = {name: np.repeat(value, 20_000, axis=0) for name, value in SEEN.items()}
    unsure = np.arange(20_000)[:, None] % 4 == 0
    seen |= {"user.unsure": np.repeat(unsure, 2, axis=1).astype(float), "user.sure": np.zeros((20_000, 2))}
    second = Sycophantic(temperature=0, bonus=2.0)

    def asked(users):
        labeler = Vulnerable(first=GoldArgmax(), second=second, share=share, users=users)
        return prefers_first(labeler, seen, np.random.default_rng(0))[:, 0] == 0

    assert not asked(Tone.unsure)[~unsure[:, 0]].any() and not asked(Tone.sure).any()
    assert asked(Tone.unsure)[unsure[:, 0]].mean() == pytest.approx(share, abs=0.02)


def test_several_labelers_have_no_one_utility():
    with pytest.raises(TypeError, match="has one utility"):
        utility(Mixture(first=GoldArgmax(), second=GoldArgmax(), share=0.5), SEEN)


FLAWS = {
    "pleased": Sycophantic(temperature=0, bonus=2.0),
    "limited": Limited(temperature=0, competence=0),
    "taken in": Confident(temperature=0, bonus=0.5),
    "patient": Length(temperature=0, bonus=0.1),
}


def test_a_labeler_without_flaws_is_gold_and_with_one_is_who_has_it():
    np.testing.assert_array_equal(utility(Flawed(temperature=0, flaws={}), SEEN), SEEN["gold"])
    for name, flaw in FLAWS.items():
        one = Flawed(temperature=0, flaws={name: flaw})
        np.testing.assert_allclose(utility(one, SEEN), utility(flaw, SEEN))
        assert prefers_first(one, SEEN, None) == prefers_first(flaw, SEEN, None)


def test_flaws_add_up():
    added = sum(utility(flaw, SEEN) - SEEN["gold"] for flaw in FLAWS.values())
    np.testing.assert_allclose(utility(Flawed(temperature=0, flaws=FLAWS), SEEN), SEEN["gold"] + added)


@pytest.mark.parametrize(
    "flaw, words", [(GoldArgmax(), "biased labelers alone"), (Confident(1.0, 1.0), "temperature 0")]
)
def test_a_flaw_is_a_bias_without_noise_of_its_own(flaw, words):
    with pytest.raises(ValueError, match=words):
        Flawed(temperature=0, flaws={"odd": flaw})
