import json
import math
from importlib.resources import files

import numpy as np
import pytest

from analysis.figures import available
from analysis.statistics.claims import Claim, ClaimTable, controlled, equivalent, exceeds, holm, thresholds
from rlhf_lab.functional.intervals import Estimate, Interval


@pytest.mark.parametrize(
    ("interval", "state"),
    [
        ((0.1, 0.5), True),
        ((-0.1, 0.5), None),
        ((-0.5, 0.0), False),
        ((math.nan, 1.0), None),
        ((0.1, math.inf), None),
    ],
)
def test_above_a_threshold(interval: tuple[float, float], state: bool | None) -> None:
    assert exceeds(Interval(*interval), 0.0) is state


@pytest.mark.parametrize(
    ("interval90", "state"),
    [
        ((-0.05, 0.08), True),
        ((-0.3, 0.3), None),
        ((0.05, 0.2), None),
        ((0.11, 0.2), False),
        ((-0.4, -0.2), False),
    ],
)
def test_no_change_is_an_equivalence_claim(interval90: tuple[float, float], state: bool | None) -> None:
    assert equivalent(Interval(*interval90), -0.1, 0.1) is state


def test_a_wide_interval_around_zero_is_no_evidence_of_no_change() -> None:
    assert equivalent(Interval(-1.0, 1.0), -0.1, 0.1) is None


LIMITS = {"rises": {"threshold": 0.1}, "named": {"threshold": 0.1, "primary": True}, "same": {"margin": 0.1}}


def table() -> ClaimTable:
    return ClaimTable("any", "SDs", LIMITS)


def estimate(value: float, se: float, replicates: int = 5) -> Estimate:
    return Estimate.plain(value, se, replicates - 1.0, replicates)


@pytest.mark.parametrize(("value", "met"), [(-0.4, True), (0.4, False), (0.0, None)])
def test_below_a_threshold(value: float, met: bool | None) -> None:
    """The interval is the value -+ 0.278."""
    claim = table().below(
        "rises", "PPO", "gold ends low", estimate(value, 0.1), 130, "gold ends", threshold=0.0
    )
    assert claim.met is met and claim.threshold == 0.0
    assert claim.p < 0.05 if met else claim.p > 0.05


def test_a_claim_is_undecided_where_too_little_was_seen() -> None:
    limits = {"rises": {"threshold": 0.1, "replicates": 5, "questions": 100}}

    def state(replicates: int, questions: int, enough: bool = True) -> str:
        claims = ClaimTable("any", "SDs", limits)
        found = Estimate.plain(0.9, 0.01, replicates=replicates)
        return claims.above("rises", "PPO", "gold rises", found, questions, "gold", enough=enough).state

    assert state(5, 100) == "met"
    assert state(4, 100) == state(5, 99) == state(5, 100, enough=False) == "undecided"


def test_a_claim_is_decided_by_the_interval_that_it_prints() -> None:
    """Student's t of 4 degrees of freedom is 2.776: the interval is 0.4 -+ 0.278."""
    claim = table().above("rises", "PPO", "gold rises", estimate(0.4, 0.1), 130, "gold rises")
    assert claim.claim == "PPO: gold rises by more than 0.1" and claim.level == 0.95
    assert claim.interval == pytest.approx((0.1224, 0.6776), abs=1e-3) and claim.threshold == 0.1
    assert claim.state == "met" and not claim.primary and not claim.conditional


@pytest.mark.parametrize("value", [0.0, 0.05, 0.1, 0.2, 0.37, 0.38, 0.5, -0.5])
@pytest.mark.parametrize("se", [0.0, 0.01, 0.0166, 0.0168, 0.1])
def test_three_states_have_no_cliff(value: float, se: float) -> None:
    """Met where the whole interval is above, not met where none of it is, undecided where it holds the threshold."""
    claim = table().above("rises", "PPO", "gold rises", estimate(value, se), 130, "gold rises")
    lo, hi = claim.interval
    assert claim.met is (True if lo > 0.1 else False if hi <= 0.1 else None)
    assert (claim.p < 0.025) == (claim.met is True)


def test_a_rise_of_five_hundredths_is_not_met_with_either_of_two_like_errors() -> None:
    """Three standard errors above 0 used to be a cliff between .0166 and .0168."""
    states = [
        table().above("rises", "PPO", "gold rises", estimate(0.05, se, 100), 130, "gold rises").met
        for se in (0.0166, 0.0168)
    ]
    assert states == [False, False]


def test_an_equivalence_says_how_small_the_difference_is_and_at_which_level() -> None:
    claim = table().equivalent("same", "PPO", "gold ends where it began", estimate(0.0, 0.03), 130, "same")
    assert claim.claim == "PPO: gold ends where it began: the difference is smaller than 0.1"
    assert claim.level == 0.9 and claim.interval == pytest.approx((-0.064, 0.064), abs=1e-3) and claim.met
    assert claim.p < 0.05
    wide = table().equivalent("same", "PPO", "gold ends where it began", estimate(0.0, 0.06), 130, "same")
    assert wide.met is None and wide.p > 0.05


def test_every_part_of_a_claim_must_hold() -> None:
    """A turn is a rise and a fall; the part that is nearest to failing is shown."""
    rise, fall = estimate(0.5, 0.05), estimate(0.2, 0.05)
    claim = table().all_above("rises", "PPO", "gold turns", [rise, fall], 130, "turns")
    assert claim.measured == 0.2 and claim.met is None
    assert (
        table().all_above("rises", "PPO", "gold turns", [rise, estimate(-0.2, 0.05)], 130, "t").met is False
    )


def tried(values: list[float], key: str = "rises") -> list[Claim]:
    claims = table()
    for value in values:
        claims.above(key, "PPO", "gold rises", estimate(value, 0.01, 1000), 130, "gold rises")
    return controlled(claims)


def test_false_discoveries_among_exploratory_claims_are_controlled() -> None:
    """Of twenty claims one has p = .01 alone, which Benjamini-Hochberg at .05 does not keep (.01 > .05 / 20)."""
    p_of_a_hundredth = 0.1 + 0.01 * 2.33
    assert [claim.met for claim in tried([p_of_a_hundredth])] == [True]
    among_twenty = tried([p_of_a_hundredth, *[0.0] * 19])
    assert among_twenty[0].met is None and "among 20 claims" in among_twenty[0].rule
    assert [claim.met for claim in among_twenty[1:]] == [False] * 19


def test_false_primary_claims_are_controlled() -> None:
    """Of twenty claims one has p = .01 alone, which Holm at .05 does not keep (.01 > .05 / 20); of four it does."""
    p_of_a_hundredth = 0.1 + 0.01 * 2.33
    assert tried([p_of_a_hundredth, *[0.0] * 19], "named")[0].met is None
    among_four = tried([p_of_a_hundredth, *[0.0] * 3], "named")
    assert among_four[0].met is True and "kept by Holm at 0.05 among 4 claims" in among_four[0].rule


def test_holm_by_hand_and_by_simulation() -> None:
    assert holm([0.012, 0.016, 0.03, 0.04]) == 0.016  # .012 <= .05 / 4, .016 <= .05 / 3, .03 > .05 / 2
    assert holm([0.02, 0.02, 0.02]) == -math.inf and holm([]) == -math.inf
    draws = np.sort(np.random.default_rng(0).random((4000, 12)), axis=1)
    false = np.mean([holm(p) >= p[0] for p in draws.tolist()])
    assert false < 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_the_kth_smallest_p_is_held_to_k_times_the_bound() -> None:
    """Two claims of p = .01 and .024 among two: .024 <= 2 / 2 x .05, so both are kept, though .024 <= .05 / 2 too."""
    rises = [0.1 + 0.01 * z for z in (2.33, 1.98)]
    assert [claim.met for claim in tried(rises)] == [True, True]
    assert [claim.met for claim in tried([*rises, 0.0])] == [True, True, False]  # .024 <= 2 / 3 x .05
    assert [claim.met for claim in tried([*rises, 0.0, 0.0])] == [True, True, False, False]  # .024 <= .025
    assert [claim.met for claim in tried([*rises, *[0.0] * 3])][:2] == [
        None,
        None,
    ]  # .024 > .02, .01 <= .01 fails


def test_claims_by_construction_are_neither_counted_nor_corrected() -> None:
    claims = table()
    claims.above("rises", "bon", "proxy rises", estimate(0.4, 0.05), 9, "t", by_construction=True)
    assert controlled(claims) == list(claims)


def test_an_undecided_claim_of_too_few_replicates_says_so() -> None:
    claims = ClaimTable("any", "SDs", {"rises": {"threshold": 0.1, "replicates": 5}})
    claim = claims.above("rises", "PPO", "gold rises", estimate(0.4, 0.01, 3), 130, "gold rises")
    assert claim.met is None and "with fewer than 5 replicates" in claim.rule


def test_json_has_null_for_what_is_missing() -> None:
    claim = Claim("c", math.nan, Interval(-math.inf, 1.0), 0.0, 3, 1, None, "rule", "unit")
    plain = json.loads(json.dumps(claim.as_json(), allow_nan=False))
    assert plain["measured"] is None and plain["interval"] == [None, 1.0] and plain["met"] is None
    assert {"claim", "measured", "interval", "threshold", "n", "met", "by_construction"} <= set(plain)


SHARED = {"quickstart": "gao2022_fig1", "hh_harmless": "gao2022_fig1"}  # held to the same thresholds


@pytest.mark.parametrize("figure", available())
def test_every_figure_names_one_to_three_primary_claims(figure: str) -> None:
    primary = [key for key, limits in thresholds(SHARED.get(figure, figure)).items() if limits.get("primary")]
    assert 1 <= len(primary) <= 3


def test_every_threshold_is_used_and_every_turnover_is_of_a_tenth() -> None:
    limits = thresholds("gao2022_fig1")
    assert set(limits) == {
        "gold_turns",
        "content_turns",
        "well_formed_turns",
        "goodhart",
        "most_turn",
        "proxy_rises",
        "proxy_rises_past_peak",
        "size_order",
        "size_order_apart",
        "peak_kl_order",
        "size_step",
        "loses_less",
    }
    assert all(rule["threshold"] == 0.1 for name, rule in limits.items() if name.endswith("turns"))


def test_every_file_of_thresholds_belongs_to_a_figure() -> None:
    names = {file.name.removesuffix(".toml") for file in (files("analysis") / "claims").iterdir()} - {
        "README.md"
    }
    assert len(names) > 30 and names <= set(available())


def test_every_figure_names_its_primary_claims() -> None:
    for file in sorted((files("analysis") / "claims").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            limits = thresholds(file.name.removesuffix(".toml"))
            assert any(claim.get("primary") for claim in limits.values()), file.name
            assert not any("ses" in claim and "threshold" in claim for claim in limits.values()), file.name
