"""The worlds W3, W4 and W5 against what is known of them: enumeration, other integrals, theorems, limits."""

from math import comb

import numpy as np
import pytest
from scipy import integrate, special, stats
from world_of_ensembles import w4
from world_of_sycophancy import Agreement, w5, w5_best_of_n, w5_tilt

from analysis.best_of_n.estimator import expected_best_of_n, question_curves
from analysis.worlds.independent_error import ERRORS, UTILITIES, student, w3, w3_best_of_n
from analysis.worlds.world import Size
from rlhf_lab.config.combination import LowerBound, Mean, Minimum, Offset, Seeds, UncertaintyWeighted
from rlhf_lab.functional.combination import combined
from rlhf_lab.functional.intervals import mean_and_se

DECADES = np.array([10, 100, 1000, 10_000, 100_000])
NORMAL = stats.norm()


# --- W3 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("utility", "error", "expected"),
    [
        (NORMAL, NORMAL, [1.0881, 1.7731, 2.2920, 2.7235, 3.1002]),
        (NORMAL, stats.t(3), [0.8256, 0.7189, 0.3495, 0.1609, 0.0745]),
        (stats.t(10), stats.t(5), [1.1357, 1.6603, 1.5616, 0.9819, 0.5113]),
        (NORMAL, stats.t(1.5), [0.5826, 0.2033, 0.0433, 0.0093, 0.0020]),
    ],
    ids=["N/N", "N/t3", "t10/t5", "N/t1.5"],
)
def test_utility_by_decades_of_n(utility, error, expected) -> None:
    found, off = w3_best_of_n(DECADES, utility, error)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (off < 1e-4).all()


def test_a_normal_error_scales_the_expected_maximum() -> None:
    """E V of best-of-n is rho E max_n: max_n by its own integral, and in closed form at n = 2 and 3."""
    root_pi = np.sqrt(np.pi)
    n = np.array([1, 2, 3, 64, 65_536])
    maxima = [0, 1 / root_pi, 1.5 / root_pi]
    for draws in n[3:]:
        maxima.append(
            integrate.quad(
                lambda z, k=draws: z * k * stats.norm.pdf(z) * special.ndtr(z) ** (k - 1), -9, 9, limit=200
            )[0]
        )
    for sd in (1.0, 0.5):
        found, _ = w3_best_of_n(n, NORMAL, stats.norm(scale=sd))
        np.testing.assert_allclose(found, np.array(maxima) / np.sqrt(1 + sd**2), atol=1e-6)


@pytest.mark.parametrize("utility", UTILITIES)
@pytest.mark.parametrize("error", ERRORS)
def test_the_generator_and_the_estimator_agree_with_the_integral(utility: str, error: str) -> None:
    n, size = np.array([1, 4, 32, 256]), Size(prompts=400, questions=400, answers=512)
    world = w3(np.random.default_rng(0), size, UTILITIES[utility], ERRORS[error])
    found = expected_best_of_n(world.proxy, world.gold, n)
    exact, off = w3_best_of_n(n, UTILITIES[utility], ERRORS[error])
    assert (off < 2e-4).all() and exact[0] == pytest.approx(0, abs=1e-7)
    assert (np.abs(found.mean - exact) < 4 * found.se).all()


def test_scales_are_the_papers_halved() -> None:
    assert [UTILITIES[name].rvs.__self__.std() for name in UTILITIES] == pytest.approx([1, 1])
    assert [ERRORS[name].rvs.__self__.std() for name in ("normal", "t5", "t3")] == pytest.approx([0.5] * 3)
    assert student(3).rvs.__self__.std() == pytest.approx(1)
    twice = 2 * ERRORS["lognormal"].rvs.__self__.ppf([0.1, 0.5, 0.9])
    np.testing.assert_allclose(twice, np.exp(np.log(2) * stats.norm.ppf([0.1, 0.5, 0.9])) - 1)


@pytest.mark.parametrize("utility", UTILITIES)
def test_the_slope_at_large_n_separates_light_from_heavy_tails(utility: str) -> None:
    n = 4.0 ** np.arange(9, 12)
    for name, error in ERRORS.items():
        rises = np.diff(w3_best_of_n(n, UTILITIES[utility], error)[0])
        assert (rises > 0).all() if name == "normal" else (rises < 1e-9).all(), name


# --- W4 -----------------------------------------------------------------------------------------------------

OF = {"members": 5, "seeds": Seeds.finetune, "offset": Offset.all}
RULES = {
    "mean": Mean(**OF),
    "WCO": Minimum(**OF),
    "UWO": UncertaintyWeighted(**OF, weight=0.5),
    "lower bound": LowerBound(**OF, sds=1.0),
}
SIZE = Size(prompts=200, questions=200, answers=1024)
LARGEST = np.array([512])


def final_gold(shared: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gold of best of 512 by one member and by each rule of five, one number a question."""
    world = w4(rng, SIZE, shared)
    proxies = {"single": world.rewards[0]} | {
        name: combined(rule, world.rewards.reshape(5, -1)).reshape(world.gold.shape)
        for name, rule in RULES.items()
    }
    return {
        name: question_curves(proxy, world.gold, LARGEST, world.question)[:, 0]
        for name, proxy in proxies.items()
    }


def test_ensembles_of_errors_of_their_own() -> None:
    """UWO ~ WCO >= mean > single (Coste et al.): differences paired by question, three SEs."""
    gold = final_gold(0.0, np.random.default_rng(0))

    def exceeds(first: str, second: str) -> bool:
        difference, se = mean_and_se(gold[first] - gold[second])
        return bool(difference > 3 * se)

    assert exceeds("UWO", "mean") and exceeds("WCO", "mean") and exceeds("mean", "single")
    assert exceeds("lower bound", "mean")
    assert abs(gold["UWO"].mean() - gold["WCO"].mean()) < 0.25 * (gold["WCO"] - gold["mean"]).mean()


def test_the_benefit_vanishes_as_errors_are_shared() -> None:
    """Each rule's gain over a single member falls with the shared fraction, to nothing at 1 (Eisenstein et al.)."""
    by_share = [final_gold(shared, np.random.default_rng(1)) for shared in (0.0, 0.5, 0.9, 1.0)]
    for name in RULES:
        gains = [float((gold[name] - gold["single"]).mean()) for gold in by_share]
        assert gains == sorted(gains, reverse=True), (name, gains)
        assert gains[-1] == pytest.approx(0, abs=1e-12) and gains[0] > 0.3


@pytest.mark.parametrize("shared", [0.0, 0.3, 1.0])
def test_a_members_error_is_as_large_whatever_is_shared(shared: float) -> None:
    light = stats.norm()
    world = w4(np.random.default_rng(2), SIZE, shared, members=2, error=light)
    first, second = ((reward - world.gold).ravel() for reward in world.rewards)
    assert first.std() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(shared, abs=0.01)


# --- W5 -----------------------------------------------------------------------------------------------------

N = np.array([1, 2, 7, 16, 64])


def test_covariance_with_a_power_of_the_quantile_is_the_change() -> None:
    """Theorem 3 by hand: two rewards that do not tie, drawn n times, one of which agrees and wins if it is there.

    Every draw wins with the highest quantile, so a share p of agreeing answers above all others wins 1 - (1 - p)^n.
    """
    above = Agreement(share=0.25, gap=30.0)
    np.testing.assert_allclose(w5_best_of_n(N, above), 1 - 0.75**N - 0.25, atol=1e-9)
    below = Agreement(share=0.25, gap=-30.0)
    np.testing.assert_allclose(w5_best_of_n(N, below), 0.25**N - 0.25, atol=1e-9)


def test_the_sign_is_the_gaps_and_no_gap_is_no_change() -> None:
    up, down = (w5_best_of_n(N[1:], Agreement(share=0.5, gap=gap)) for gap in (0.5, -0.5))
    assert (up > 0).all()
    np.testing.assert_allclose(up, -down, atol=1e-9)  # as many agree as not: one mirrors the other
    np.testing.assert_allclose(w5_best_of_n(N, Agreement(gap=0.0)), 0, atol=1e-9)


@pytest.mark.parametrize(
    "world", [Agreement(), Agreement(gap=-0.5), Agreement(share=0.7, gap=0.3, spread=0.5)], ids=str
)
def test_the_measured_change_is_the_covariance(world: Agreement) -> None:
    drawn = w5(np.random.default_rng(3), Size(prompts=400, questions=400, answers=256), world)
    found = expected_best_of_n(drawn.reward, drawn.agrees, N, drawn.question)
    change, expected = found.mean - world.share, w5_best_of_n(N, world)
    assert (np.abs(change - expected) < 3.5 * found.se).all()
    quantile = (drawn.reward.ravel().argsort().argsort() + 0.5) / drawn.reward.size
    for n, exact in zip(N, expected, strict=True):
        covariance = n * np.cov(drawn.agrees.ravel(), quantile ** (n - 1), ddof=0)[0, 1]
        assert covariance == pytest.approx(exact, abs=0.02)


def test_a_narrow_reward_of_agreement_turns_the_sign_with_n_and_with_beta() -> None:
    """Favoured on average, but the highest rewards are the others'."""
    world = Agreement(share=0.4, gap=0.5, spread=0.5)
    assert w5_best_of_n(np.array([2]), world)[0] > 0 > w5_best_of_n(np.array([256]), world)[0]
    tilted = w5_tilt(np.array([0.0, 0.5, 3.0]), world)
    assert tilted[0] == 0 and tilted[1] > 0 > tilted[2]
    assert w5_tilt(np.array([2 * 0.5 / (1 - 0.25)]), world)[0] == pytest.approx(0, abs=1e-12)


def test_the_tilt_by_hand() -> None:
    """Two thirds of the mass where the others have one third: gap log 2 at beta 1 and half of them agree."""
    world = Agreement(share=0.5, gap=float(np.log(2)))
    assert w5_tilt(np.array([1.0]), world)[0] == pytest.approx(2 / 3 - 1 / 2)


def test_best_of_two_of_three_by_enumeration() -> None:
    """The identity on a table without ties: n Cov(A, U^(n-1)) with replacement is F^n - F^(n-1) summed over winners."""
    agrees, n = np.array([1.0, 0.0, 1.0]), 2  # in ascending order of reward
    wins = np.diff((np.arange(4) / 3) ** n)
    assert wins @ agrees == pytest.approx((1 + 5) / 9)
    without = expected_best_of_n(np.arange(3.0), agrees, [n]).mean[0]
    assert without == pytest.approx((comb(2, 1) * 1 + 0) / comb(3, 2))
