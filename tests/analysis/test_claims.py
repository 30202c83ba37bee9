import json
import math
from importlib.resources import files

import pytest

from analysis.figures import available
from analysis.statistics.claims import Claim, ClaimTable, equivalent, exceeds, exceeds_by_ses, thresholds
from rlhf_lab.functional.intervals import Estimate, Interval


@pytest.mark.parametrize(
    ("mean", "se", "state"),
    [
        (0.30, 0.09, True),  # 3.3 SE
        (0.30, 0.0999, True),  # 3 SE and a little
        (0.30, 0.11, None),  # might be anything
        (0.02, 0.04, False),  # upper 95 % bound .086
        (0.02, 0.05, None),  # .102: the margin is not excluded
        (-0.5, 0.10, False),
        (0.0, 0.0, False),
        (math.nan, 0.1, None),
        (0.3, math.nan, None),
    ],
)
def test_three_standard_errors(mean: float, se: float, state: bool | None) -> None:
    assert exceeds_by_ses(mean, se, 3.0, 0.1) is state


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


def test_a_claim_states_its_threshold_in_its_own_units() -> None:
    claims = ClaimTable("any", "SDs", {"falls": {"ses": 3.0, "margin": 0.1}})
    claim = claims.exceeds_by_ses(
        "falls", "PPO", "gold falls", Estimate(0.4, 0.1, math.inf, 2), 130, "gold falls"
    )
    assert list(claims) == [claim] and claim.claim == "PPO: gold falls" and claim.conditional
    assert claim.threshold == pytest.approx(0.3) and claim.interval == pytest.approx((0.204, 0.596), abs=1e-3)
    assert claim.state == "met" and "3 SE" in claim.rule


def test_json_has_null_for_what_is_missing() -> None:
    claim = Claim("c", math.nan, Interval(-math.inf, 1.0), 0.0, 3, 1, None, "rule", "unit")
    plain = json.loads(json.dumps(claim.as_json(), allow_nan=False))
    assert plain["measured"] is None and plain["interval"] == [None, 1.0] and plain["met"] is None
    assert {"claim", "measured", "interval", "threshold", "n", "met", "by_construction"} <= set(plain)


def test_every_threshold_is_used_and_every_turnover_is_three_standard_errors() -> None:
    limits = thresholds("gao2022_fig1")
    assert set(limits) == {
        "gold_turns",
        "content_turns",
        "well_formed_turns",
        "most_turn",
        "proxy_rises",
        "proxy_rises_past_peak",
        "loss_beyond_drift",
        "size_order",
    }
    assert all(rule["ses"] == 3.0 for name, rule in limits.items() if name.endswith("turns"))


def test_every_file_of_thresholds_belongs_to_a_figure() -> None:
    names = {file.name.removesuffix(".toml") for file in (files("analysis") / "claims").iterdir()} - {
        "README.md"
    }
    assert len(names) > 30 and names <= set(available())
