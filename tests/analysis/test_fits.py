import json
from pathlib import Path

import numpy as np
import pytest

from analysis.statistics import fits
from analysis.statistics.fits import Form, bootstrap, fit, peak, predict
from analysis.statistics.resampling import Resample

DIGITISED = json.loads((Path(__file__).parents[1] / "data" / "gao2022_fig1_digitised.json").read_text())
BON_FIG3 = {  # alpha, beta of Figure 3 of 2210.10760 (papers.md, section 2)
    "3M": (0.490, 0.120),
    "12M": (0.513, 0.120),
    "25M": (0.558, 0.115),
    "42M": (0.548, 0.111),
    "85M": (0.599, 0.106),
    "300M": (0.633, 0.0995),
    "680M": (0.649, 0.098),
    "1.2B": (0.653, 0.0965),
    "3B": (0.662, 0.090),
}


def points(method: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    """The digitised curve where section 1.6 fits it: 0 < KL <= 6 for best-of-n, d > 1 for RL."""
    d, gold = np.array(DIGITISED[method][size]).T
    keep = (d > 0) & (d**2 <= 6) if method == "bon" else d > 1
    return d[keep], gold[keep]


@pytest.mark.parametrize("size", BON_FIG3)
def test_refit_of_the_published_best_of_n_curves(size: str) -> None:
    fitted = fit("bon", *points("bon", size))
    alpha, beta = BON_FIG3[size]
    assert fitted.alpha == pytest.approx(alpha, abs=0.006) and fitted.beta == pytest.approx(beta, abs=0.003)
    assert fitted.rmse < 0.011


def test_the_wrong_form_fits_the_published_curves_worse() -> None:
    def ratios(method: Form, wrong: Form) -> list[float]:
        return [fit(wrong, *points(method, s)).rmse / fit(method, *points(method, s)).rmse for s in BON_FIG3]

    bon, rl = ratios("bon", "rl"), ratios("rl", "bon")
    assert np.median(bon) >= 2 and min(bon) >= 1.9
    assert min(rl) >= 2.5
    assert all(0.011 <= round(fit("rl", *points("rl", size)).rmse, 3) <= 0.022 for size in BON_FIG3)


def test_one_alpha_for_the_published_rl_curves() -> None:
    """beta_RL with a shared alpha: the table of papers.md, section 2; alpha and RMSE below it."""
    fitted = fits.fit_shared("rl", [points("rl", size) for size in BON_FIG3])
    assert fitted.alpha == pytest.approx(0.384, abs=0.003) and fitted.rmse == pytest.approx(0.026, abs=0.001)
    table = [0.171, 0.162, 0.150, 0.147, 0.140, 0.128, 0.122, 0.1245, 0.120]
    assert fitted.betas == pytest.approx(table, abs=0.002)


@pytest.mark.parametrize("form", ["bon", "rl"])
def test_many_fits_at_once_are_each_of_them(form: Form) -> None:
    rng = np.random.default_rng(0)
    d = 1 + rng.random((7, 9)).cumsum(axis=1)
    gold = predict(form, 0.5, 0.1, d) + 0.05 * rng.normal(size=d.shape)
    single = [fit(form, x, y) for x, y in zip(d, gold, strict=True)]
    for name, values in fits.fit_each(form, d, gold)._asdict().items():
        np.testing.assert_allclose(values, [getattr(fitted, name) for fitted in single], rtol=1e-9)
    curves = [(d, gold), (d[:, :5], gold[:, ::-1][:, :5])]
    shared = [fits.fit_shared(form, [(x[row], y[row]) for x, y in curves]) for row in range(len(d))]
    together = fits.fit_shared_each(form, curves)
    np.testing.assert_allclose(together.alpha, [fitted.alpha for fitted in shared], rtol=1e-8)
    np.testing.assert_allclose(together.betas.T, [fitted.betas for fitted in shared], rtol=1e-8)
    np.testing.assert_allclose(together.rmse, [fitted.rmse for fitted in shared], rtol=1e-8)


@pytest.mark.parametrize("form", ["bon", "rl"])
def test_many_peaks_at_once_are_each_of_them(form: Form) -> None:
    alpha, beta = (values.ravel() for values in np.meshgrid([-1.0, 0.0, 0.5, 2.0], [-0.2, 0.0, 0.1, 0.5]))
    single = [fits.rankable_peak(form, a, b)[0] for a, b in zip(alpha, beta, strict=True)]
    np.testing.assert_allclose(fits.rankable_places(form, alpha, beta), single)


@pytest.mark.parametrize("form", fits.FORMS)
def test_one_alpha_recovers_its_own_coefficients(form: Form) -> None:
    d = np.linspace(1.1, 4, 12)
    fitted = fits.fit_shared(
        form, [(d[:n], predict(form, 0.4, beta, d[:n])) for n, beta in ((12, 0.1), (7, 0.3))]
    )
    assert (fitted.alpha, *fitted.betas, fitted.rmse) == pytest.approx((0.4, 0.1, 0.3, 0), abs=1e-12)


@pytest.mark.parametrize("form", fits.FORMS)
def test_recovers_its_own_coefficients(form: Form) -> None:
    d = np.linspace(0.2, 4, 12)
    fitted = fit(form, d, predict(form, 0.5, 0.11, d))
    assert (fitted.alpha, fitted.beta, fitted.rmse) == pytest.approx((0.5, 0.11, 0), abs=1e-12)


def test_peaks_by_hand() -> None:
    assert peak("bon", 0.49, 0.12) == pytest.approx((0.49 / 0.24, 0.49**2 / 0.48))
    assert peak("rl", 0.384, 0.175) == pytest.approx(
        (np.exp(0.384 / 0.175 - 1), 0.175 * np.exp(0.384 / 0.175 - 1))
    )
    assert peak("rl", 0.384, 0.175)[0] ** 2 == pytest.approx(11, abs=0.5)  # the table of section 2


@pytest.mark.parametrize(
    ("form", "alpha", "beta"), [("bon", 0.5, -0.1), ("bon", -0.5, 0.1), ("rl", 0.5, 0.0)]
)
def test_no_interior_peak_is_nan(form: Form, alpha: float, beta: float) -> None:
    assert np.isnan(peak(form, alpha, beta)).all()


@pytest.mark.parametrize(
    ("form", "d", "message"),
    [
        ("rl", [0.0, 1, 2], "initial policy"),
        ("bon", [1.0], "two points"),
        ("odd", [1.0, 2], "one of"),
        ("bon", [1.0, 1.0, 1.0], "two different d"),
        ("bon", [0.0, 1.0, 1.0], "two different d"),
        ("rl", [2.0, 2.0], "two different d"),
        ("bon", [1.0, float("nan")], "finite"),
    ],
)
def test_points_that_cannot_be_fitted(form: Form, d: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(form, d, np.ones(len(d)))


@pytest.mark.parametrize("se", [[0.1, 0.0, 0.1], [0.1, float("nan"), 0.1], [0.1, -1.0, 0.1], [0.1]])
def test_standard_errors_that_are_none(se: list[float]) -> None:
    with pytest.raises(ValueError, match="standard error"):
        fit("bon", [1.0, 2.0, 3.0], [0.3, 0.4, 0.3], se)


def test_a_fit_is_weighted_by_standard_errors() -> None:
    """Equal SEs change nothing; a point with a huge one has no say, and two points are fitted exactly."""
    d, gold = [1.0, 2.0, 3.0], [0.3, 0.4, 2.0]
    assert fit("bon", d, gold, [0.1] * 3)[:3] == pytest.approx(fit("bon", d, gold)[:3])
    weighted = fit("bon", d, gold, [0.1, 0.1, 1e6])
    assert weighted[:2] == pytest.approx((0.4, 0.1), abs=1e-6)  # 0.3 = a - b; 0.4 = 2 a - 4 b


def world(replicates: int, questions: int, rng: np.random.Generator) -> fits.Curve:
    """Curves whose level differs by question and whose slope differs by replicate."""
    d = np.linspace(0.5, 2.5, 8)
    slopes = 0.6 + 0.05 * rng.normal(size=replicates)
    noise = 0.3 * rng.normal(size=(questions, 1)) * d

    def curve(resample: Resample) -> tuple[np.ndarray, np.ndarray]:
        weights = resample.questions(questions)
        level = weights @ noise / weights.sum()
        return np.tile(d, len(resample.replicates)), np.concatenate(
            [predict("bon", slopes[index], 0.1, d) + level for index in resample.replicates]
        )

    return curve


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        fitted = bootstrap("bon", world(8, 60, rng), 8, rng, 80)
        hits += fitted.intervals["alpha"].lo <= 0.6 <= fitted.intervals["alpha"].hi
    assert 0.84 <= hits / 80 <= 0.99


def test_few_replicates_are_kept_and_the_result_says_so() -> None:
    rng = np.random.default_rng(0)
    of_four, of_five = (bootstrap("bon", world(r, 60, rng), r, np.random.default_rng(1), 50) for r in (4, 5))
    assert of_four.conditional and not of_five.conditional
    resamples: list[Resample] = []

    def watched(resample: Resample) -> tuple[np.ndarray, np.ndarray]:
        resamples.append(resample)
        return np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.5, 0.4])

    bootstrap("bon", watched, 4, rng, 20)
    assert all(list(resample.replicates) == [0, 1, 2, 3] for resample in resamples)
    bootstrap("bon", watched, 5, rng, 20)
    assert any(len(set(resample.replicates)) < 5 for resample in resamples)


def test_a_peak_that_some_draws_lack_has_no_upper_bound() -> None:
    calls = iter(range(100))

    def curve(_: Resample) -> tuple[np.ndarray, np.ndarray]:
        d = np.linspace(0.5, 2, 5)
        return d, predict("bon", 0.5, 0.1 if next(calls) % 3 else -0.1, d)

    fitted = bootstrap("bon", curve, 1, np.random.default_rng(0), 60)
    assert fitted.intervals["peak_d"].hi == float("inf") and fitted.intervals["peak_d"].lo == pytest.approx(
        2.5
    )


def test_the_same_generator_gives_the_same_intervals() -> None:
    curve = world(5, 30, np.random.default_rng(0))
    first, second = (bootstrap("bon", curve, 5, np.random.default_rng(7), 30).intervals for _ in range(2))
    assert first == second
