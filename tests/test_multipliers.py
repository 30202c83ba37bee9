"""Multipliers of constraints, worked by hand (2310.04373)."""

import json
import math
from typing import Any

import numpy as np
import pytest

from rlhf_lab.config.combination import Constrained, Form, Offset, Seeds
from rlhf_lab.functional import multipliers


def rule(form: Form, **changes: Any) -> Constrained:
    settings: dict[str, Any] = {"thresholds": [1.0, 2.0], "lr": 0.5, "momentum": 0.1, "limit": 9.0}
    of: dict[str, Any] = {"members": 2, "seeds": Seeds.finetune, "offset": Offset.all}
    return Constrained(**of, form=form, **(settings | changes))


def test_they_begin_at_a_half_or_at_nothing() -> None:
    for form, start in ((Form.mu, 0.5), (Form.xi, 0.0)):
        asked = rule(form)
        assert multipliers.values(asked, multipliers.initial(asked)) == pytest.approx([start, start])


def test_two_steps_of_mu_by_hand() -> None:
    """m' is 1/4 at u = 0; the first member misses its threshold by 1, the second is above its own by 2."""
    asked = rule(Form.mu)
    first = multipliers.moved(asked, multipliers.initial(asked), np.array([0.0, 4.0]))
    assert first == [[0.125, -0.25], [-0.25, 0.5]]
    low, high = (1 / (1 + math.exp(-u)) for u in (0.125, -0.25))
    assert multipliers.values(asked, first) == pytest.approx([low, high])
    second = multipliers.moved(asked, first, np.array([0.0, 4.0]))
    momentum = [0.1 * -0.25 - low * (1 - low), 0.1 * 0.5 + 2 * high * (1 - high)]
    assert second[1] == pytest.approx(momentum)
    assert second[0] == pytest.approx([0.125 - 0.5 * momentum[0], -0.25 - 0.5 * momentum[1]])


def test_two_steps_of_xi_by_hand() -> None:
    """m' is 1 at u = 0."""
    asked = rule(Form.xi, thresholds=[1.0])  # of both
    first = multipliers.moved(asked, multipliers.initial(asked), np.array([0.5, 1.2]))
    np.testing.assert_allclose(first, [[0.25, -0.1], [-0.5, 0.2]])
    slope = 1 - math.tanh(0.25) ** 2
    second = multipliers.moved(asked, first, np.array([0.5, 1.2]))
    assert second[1][0] == pytest.approx(-0.05 - 0.5 * slope)
    assert multipliers.values(asked, second)[1] < 0, "above the threshold it pushes down"


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("reward", [-50.0, 50.0])
def test_they_keep_to_their_range_and_come_back(form: Form, reward: float) -> None:
    asked = rule(form, limit=2.0)
    state, low = multipliers.initial(asked), -1.0 if form is Form.xi else 0.0
    seen = []
    for _ in range(30):
        state = multipliers.moved(asked, state, np.array([reward, reward]))
        seen.append(multipliers.values(asked, state)[0])
    assert all(low < one < 1 for one in seen) and abs(state[0][0]) == 2.0
    assert seen == sorted(seen, reverse=reward > 0), "up while below the threshold, down while above it"
    for _ in range(3):  # what momentum keeps is soon forgotten
        state = multipliers.moved(asked, state, np.array([-reward, -reward]))
    assert np.sign(reward) * state[0][0] > -2.0


def test_a_member_at_its_threshold_keeps_its_multiplier() -> None:
    asked = rule(Form.xi, momentum=0.0)
    moved = multipliers.moved(asked, [[0.3, -0.2], [0.0, 0.0]], np.array([1.0, 2.0]))
    assert moved[0] == [0.3, -0.2]


def test_the_mixture_is_a_mean_over_members() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, -1.0]])
    assert multipliers.mixed(np.array([0.5, -0.5]), rewards) == pytest.approx([-0.5, 0.75])
    assert multipliers.mixed(np.ones(2), rewards) == pytest.approx(rewards.mean(axis=0))


def test_they_survive_json_exactly() -> None:
    asked = rule(Form.xi)
    state = multipliers.moved(asked, multipliers.initial(asked), np.array([1 / 3, math.pi]))
    assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"thresholds": [1.0, 2.0, 3.0]}, "thresholds must be one number or 2"),
        ({"thresholds": [float("nan")]}, "thresholds must be finite"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"limit": 0.0}, "limit must be > 0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
    ],
)
def test_ranges(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        rule(Form.mu, **changes)
