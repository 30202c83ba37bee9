"""Effects, their errors and claims: by hand, in worlds without effects, and in one with a known effect."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from what_matters_design import METHODS, fraction

from analysis.figures.what_matters import MethodEffects, claim_effects, estimated, two_sided
from analysis.runs.designs import (
    DROP,
    END,
    MEASURES,
    PEAK,
    PEAK_D,
    Design,
    Factor,
    interactions,
    measures,
)
from analysis.statistics.claims import ClaimTable
from analysis.statistics.factorial import agreement, effects, error

TINY = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
HALF = np.arange(24) % 2 == 0
RUN: Any = SimpleNamespace(sweep="what_matters")


def claims(by_method: list[MethodEffects]) -> ClaimTable:
    table = ClaimTable("what_matters")
    claim_effects(table, by_method)
    return table


def test_by_hand() -> None:
    """Cells 0, 1, 4, 7 in one replicate and 2 higher but for the last, 1 higher: a + 4.25 by half of 4.5 and 4."""
    runs = np.array([[0.0, 2], [1, 3], [4, 6], [7, 8]])
    estimates = effects(runs[:, :, None] + np.zeros(3), TINY, TINY)
    assert [effect.value for effect in estimates] == pytest.approx([4.75, 1.75])
    variance, df = error(runs, TINY)
    # within cells less replicates (0, 1.75): the first three -.125 and .125, the last .375 and -.375
    assert (variance, df) == (pytest.approx((6 * 0.125**2 + 2 * 0.375**2) / 3), 3.0)
    assert estimates[0].se == pytest.approx(np.sqrt(4 * variance / 8)) and estimates[0].parts[1].variance == 0
    assert estimates[0].interval().hi == pytest.approx(4.75 + 3.182446 * estimates[0].se)
    assert 0 < two_sided(estimates[0]) < 0.01


def test_effects_are_differences_of_means() -> None:
    signs, rng = fraction(8), np.random.default_rng(0)
    values = rng.normal(size=(16, 3, 20))
    for index, effect in enumerate(effects(values, signs, signs)):
        plus, minus = values[signs[:, index] > 0], values[signs[:, index] < 0]
        assert effect.value == pytest.approx(plus.mean() - minus.mean())
        difference = plus.mean(axis=(0, 1)) - minus.mean(axis=(0, 1))
        assert effect.parts[1].variance == pytest.approx(difference.var(ddof=1) / 20)


def test_levels_of_replicates_and_of_questions_are_no_error() -> None:
    rng = np.random.default_rng(0)
    values = 5 * rng.normal(size=(1, 3, 1)) + 5 * rng.normal(size=(1, 1, 30)) + fraction(8)[:, :1, None]
    effect = effects(values, fraction(8), fraction(8))[0]
    assert effect.value == pytest.approx(2) and effect.se < 1e-10


def test_one_replicate_takes_what_main_effects_leave_as_error() -> None:
    runs = TINY @ np.array([[1.0], [2.0]]) + 0.5 * TINY.prod(axis=1, keepdims=True)
    assert error(runs, TINY) == (pytest.approx(1.0), 1.0)
    assert np.isnan(error(runs[:2], TINY[:2, 1:])[0])


def test_effects_that_differ_between_replicates_are_seen() -> None:
    rng, signs = np.random.default_rng(1), fraction(8)
    values = rng.normal(size=(16, 3, 4)) * 0.1
    assert agreement(values, signs).p > 0.01
    values += signs[:, :1, None] * np.array([1.0, 0, -1])[:, None]
    assert agreement(values, signs).p < 1e-6 and np.isnan(agreement(values[:, :1], signs).p)


def test_a_product_of_two_is_found_in_its_set() -> None:
    design = designed("ppo")
    values = (
        0.01 * np.random.default_rng(0).normal(size=(16, 3, 4))
        + (design.signs[:, 2] * design.signs[:, 6])[:, None, None]
    )
    first, *rest = interactions(design, values)
    assert {(left.name, right.name) for left, right in first.pairs} == {
        ("rm", "preferences.pairs"),
        ("labeler", "preferences.answers"),
        ("rm_combination", "policy.kl_coef"),
        ("rm.init", "rm.center"),
    }
    assert first.effect.value == pytest.approx(2, abs=0.01) and abs(rest[0].effect.value) < 0.02
    assert interactions(design, values[:, :1]) == []


# --- measures -----------------------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    """Two questions a half; one run turns after its second point, one rises to the end."""
    turns, rises = np.array([1.0, 3, 2]), np.array([1.0, 2, 4])
    gold = np.stack([turns, rises])[:, None, None] + np.zeros((1, 1, 4, 1))
    kl = np.zeros((2, 1, 4, 1)) + np.array([0.0, 4, 9])
    measured = measures(gold, kl, np.ones((2, 1, 3), bool), np.array([True, False, True, False]))
    means = {name: value.mean(axis=2).ravel().tolist() for name, value in measured.values.items()}
    assert means == {PEAK: [2, 3], PEAK_D: [2, 3], DROP: [1, 0], END: [1, 3]}
    assert measured.censored.ravel().tolist() == [False, True]
    lower_bound = measures(gold, kl, np.array([True, False, False])[None, None].repeat(2, 0), HALF[:4])
    assert lower_bound.censored.all()


def test_a_peak_at_the_start_has_no_kl() -> None:
    gold = np.zeros((1, 1, 4, 3)) - np.arange(3.0)
    measured = measures(gold, np.arange(3.0) + np.zeros((1, 1, 4, 3)), np.ones((1, 1, 3), bool), HALF[:4])
    assert measured.values[PEAK_D].tolist() == [[[0, 0, 0, 0]]] and measured.values[DROP].mean() == 2


# --- claims -------------------------------------------------------------------------------------------------


def designed(method: str) -> Design:
    knobs = METHODS[method][1]
    factors = tuple(Factor(knob.name, "first", "second") for knob in knobs)
    return Design(method, factors, fraction(len(knobs)), ((RUN,) * 3,) * 16, 0)


def swept(rng: np.random.Generator, peak: dict[str, float], drop: dict[str, float]) -> list[MethodEffects]:
    """Both methods: gold rises to a peak that some knobs move by so much, and falls after it by what others move."""
    d = np.linspace(0, 3, 9)
    by_method = []
    for method in METHODS:
        design = designed(method)

        def moved(effect_of: dict[str, float], design: Design = design) -> np.ndarray:
            names = [factor.name for factor in design.factors]
            expected = design.signs @ np.array([effect_of.get(name, 0.0) / 2 for name in names])
            return expected[:, None] + 0.08 * rng.normal(size=(16, 3)) + 0.05 * rng.normal(size=3)

        height, loss = (cell_means[:, :, None, None] for cell_means in (0.4 + moved(peak), 0.4 + moved(drop)))
        questions = 0.4 * rng.normal(size=(1, 1, 24, 1)) + 1
        gold = questions * (height * np.clip(d / 1.5, 0, 1) - loss * np.clip(d / 1.5 - 1, 0, 1))
        gold = gold + 0.1 * rng.normal(size=gold.shape)
        kl = np.broadcast_to(d**2, gold.shape)
        by_method.append(estimated(design, measures(gold, kl, np.ones((16, 3, 9), bool), HALF)))
    return by_method


def test_worlds_without_effects_have_nothing_met() -> None:
    rng = np.random.default_rng(0)
    met = [any(claim.met for claim in claims(swept(rng, {}, {}))) for _ in range(200)]
    assert np.mean(met) < 0.05


def test_effects_of_known_size_are_recovered_on_the_side_that_is_claimed() -> None:
    rng = np.random.default_rng(1)
    peak = {"rm": 0.3, "labeler": -0.3, "preferences.pairs": -0.3, "rm.center": 0.3}
    by_method = swept(rng, peak, {"rm_combination": -0.3, "policy.kl_coef": 0.3})
    by_topic = {(claim.subject.partition(":")[0], claim.topic): claim for claim in claims(by_method)}
    assert len(by_topic) == 5 + 5 + 5 + 6 and all(
        claim.n == 48 and not claim.conditional for claim in by_topic.values()
    )
    for method in ("best-of-n", "PPO"):
        states = {
            key[0].removeprefix(f"{method}, "): claim
            for key, claim in by_topic.items()
            if key[1] == "peak gold" and key[0].startswith(method)
        }
        assert states["reward model"].met and states["label noise"].met
        assert states["reward model"].measured == pytest.approx(0.3, abs=0.08)
        assert states["comparisons"].met is False  # less gold from more pairs: the other side
        assert by_topic[f"{method}, combination", "gold lost after it"].met
    assert by_topic["PPO, KL penalty", "gold lost after it"].met is False


def test_small_effects_are_not_met_and_few_replicates_leave_it_undecided() -> None:
    by_method = swept(np.random.default_rng(2), {}, {})
    states = [claim.met for claim in claims(by_method)]
    assert True not in states and states.count(False) > len(states) / 2
    one_replicate = [
        method._replace(
            effects={
                measure: [effect._replace(replicates=1) for effect in effects]
                for measure, effects in method.effects.items()
            }
        )
        for method in by_method
    ]
    assert {claim.met for claim in claims(one_replicate)} == {None}


def test_another_sweep_of_the_same_settings_is_shown_and_not_claimed() -> None:
    other_run: Any = SimpleNamespace(sweep="mine")
    by_method = swept(np.random.default_rng(2), {}, {})
    of_other_sweep = [
        method._replace(
            design=Design(
                method.design.method, method.design.factors, method.design.signs, ((other_run,) * 3,) * 16, 0
            )
        )
        for method in by_method
    ]
    assert claims(of_other_sweep) == [] and set(of_other_sweep[0].effects) == set(MEASURES)
