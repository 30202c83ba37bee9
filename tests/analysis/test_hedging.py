"""HedgeTune: the exact toy of 2506.19248, the shapes without a root, and gold on few questions."""

import numpy as np
import pytest
from test_curves import answers

from analysis.best_of_n import hedge_tune
from analysis.best_of_n.hedge_tune import Tuned, best, best_of_n_response, poisson_response, whole
from analysis.best_of_n.selection import selection_curves
from analysis.worlds.hedge_tune import CURVE, ROOT, toy, w2_best_of_n, w2_gold

RANKS = (np.arange(4096) + 0.5) / 4096
TOY = w2_gold(RANKS)  # gold of each rank


def test_the_toy_in_closed_form() -> None:
    assert w2_best_of_n(np.array([2, 12, 13, 128])) == pytest.approx(
        [0.3235, 0.67939, 0.67939, 0.2203], abs=5e-5
    )
    assert w2_best_of_n(np.array([12.0])) == pytest.approx(w2_best_of_n(np.array([13.0])), abs=1e-12)


def test_the_root_of_the_toy_is_sqrt_of_p_times_p_plus_1() -> None:
    response = best_of_n_response(TOY)
    found = best(response, 1, 1000)
    assert found.root and found.strength == pytest.approx(np.sqrt(12 * 13), abs=2e-3)
    assert whole(found, response).strength in (12, 13)
    for n in (2, 12, 13, 128):
        assert response(n)[0] == pytest.approx(float(w2_best_of_n(np.array(float(n)))), abs=1e-4)


@pytest.mark.parametrize("make", [best_of_n_response, poisson_response])
def test_the_slope_is_the_derivative(make) -> None:
    response = make(np.random.default_rng(0).normal(size=50))
    for strength in (1.0, 3.3, 20.0):
        (after, _), (before, _) = response(strength + 1e-5), response(strength - 1e-5)
        assert response(strength)[1] == pytest.approx((after - before) / 2e-5, abs=1e-6)


def test_psi_of_best_of_n_is_one_over_n_plus_log_u() -> None:
    """E[gold psi] by the integral over the proxy's quantile u, density n u^(n-1)."""
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (2.0, 12.0, 40.0):
        by_psi = np.mean(n * u ** (n - 1) * w2_gold(u) * (1 / n + np.log(u)))
        assert best_of_n_response(TOY)(n)[1] == pytest.approx(by_psi, abs=2e-5)


def test_a_curve_that_only_rises_takes_its_strongest_end_and_says_so() -> None:
    found = best(best_of_n_response(RANKS), 1, 100)
    assert found == (100, False)
    assert best(best_of_n_response(-RANKS), 1, 100) == (1, False)


def test_a_valley_is_no_choice() -> None:
    """Gold that falls and then rises has a root, at its lowest."""
    response = best_of_n_response(-TOY + 0.5 * RANKS**200)
    slopes = [response(n)[1] for n in (2.0, 40.0)]
    assert slopes[0] < 0 < slopes[1]
    assert not best(response, 1, 100).root


@pytest.mark.parametrize("rule", ["bon", "best_of_poisson", "soft_bon"])
def test_a_run_is_evaluated_on_the_other_questions_alone(rule: str) -> None:
    rows = answers(questions=20, count=64)
    policy = {"rule": rule, "gold_questions": 6, "seed": 3}
    found = selection_curves(rows, "HedgeTune", policy)
    assert isinstance(found, Tuned) and len(found.questions) == 14 and list(found.points) == [0, 1]
    seen = hedge_tune.looked_at(rows["question_id"].to_numpy(), 6, 3)
    assert not set(seen) & set(found.questions)
    assert set(hedge_tune.looked_at(rows["question_id"].to_numpy(), 2, 3)) <= set(seen)
    spoilt = rows["gold"].to_numpy().copy()  # gold of the others has no say in the strength
    spoilt[~np.isin(rows["question_id"].to_numpy(), seen)] *= -1
    at = rows.column_names.index("gold")
    other = selection_curves(rows.set_column(at, "gold", [spoilt]), "HedgeTune", policy)
    assert isinstance(other, Tuned) and other.choice == found.choice
    assert other.values["gold"] == pytest.approx(-found.values["gold"])


def test_the_tuned_point_lies_on_the_rules_own_curve() -> None:
    rows = answers(questions=20, count=64)  # gold = 2 proxy: the largest n
    found = selection_curves(rows, "HedgeTune", {"rule": "bon", "gold_questions": 6, "seed": 0})
    assert isinstance(found, Tuned) and found.choice == (32.0, False) and list(found.kl_good) == [True, False]
    plain = selection_curves(rows, "BestOfN", {}).on(found.questions)
    for one, two in ((found.kl, plain.kl), (found.values["gold"], plain.values["gold"])):
        assert one == pytest.approx(two[:, [0, -1]])
    assert found.by_question("gold") == pytest.approx(plain.by_question("gold")[:, [0, -1]])


@pytest.mark.parametrize("count", [1, 19])
def test_too_few_questions_on_either_side(count: int) -> None:
    with pytest.raises(ValueError, match=f"gold_questions is {count} of 20 questions; expected 2 to 18"):
        selection_curves(
            answers(questions=20), "HedgeTune", {"rule": "bon", "gold_questions": count, "seed": 0}
        )


def test_the_panel_of_the_toy() -> None:
    table = toy()
    roots = table[table["curve"] == ROOT].set_index("method")
    assert roots.loc["bon", "strength"] == pytest.approx(12.49, abs=0.01)
    assert roots["gold"].to_numpy() == pytest.approx([0.6794, 0.6678, 0.6678], abs=3e-3)
    curves = table[table["curve"] == CURVE]
    for method, rows in curves.groupby("method"):
        assert rows["gold"].max() <= roots.loc[method, "gold"] + 1e-9
    plain = curves[curves["method"] == "bon"]
    assert plain["gold"].to_numpy() == pytest.approx(w2_best_of_n(plain["strength"].to_numpy()), abs=3e-4)
