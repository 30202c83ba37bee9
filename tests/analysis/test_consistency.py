"""The Donsker-Varadhan check: a KL that is understated is caught, and one that is true is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fake_store import Cell, only, write_store
from test_curves import answers

from analysis.best_of_n.curves import Curves, checkpoint_curves
from analysis.best_of_n.initial_policy import Tilts
from analysis.best_of_n.selection import selection_curves
from analysis.runs.arms import Arm, Study, study
from analysis.runs.checks import diverged_notes, run_notes, shortfall
from rlhf_lab.store.records import runs

QUESTIONS, FRAMINGS, COUNT = 120, 2, 256
SHIFTS = np.linspace(0, 2.0, 9)


def tilted(rng: np.random.Generator, sampled: int = 2) -> tuple[Curves, Curves]:
    """SFT's table of N(m, 1) proxies, and a policy at the tilts N(m + s, 1) of KL s^2/2: it reaches the bound."""
    level = rng.normal(size=QUESTIONS * FRAMINGS) * 2
    table = selection_curves(rows(level, np.zeros(1), COUNT, rng), "BestOfN", {})
    policy = rows(level, SHIFTS, sampled, rng)
    return table, checkpoint_curves(policy, table.initial)


def rows(level: np.ndarray, shifts: np.ndarray, count: int, rng: np.random.Generator) -> pa.Table:
    """`count` answers to each prompt at each shift of the proxy; KL is exact."""
    prompt = np.tile(np.repeat(np.arange(len(level)), count), len(shifts))
    step = np.repeat(np.arange(len(shifts)), len(level) * count)
    proxy = level[prompt] + shifts[step] + rng.normal(size=len(prompt))
    return pa.table(
        {
            "prompt_id": prompt,
            "question_id": prompt // FRAMINGS,
            "checkpoint": step * 10,
            "finished": np.ones(len(prompt), dtype=bool),
            "gold": proxy,
            "proxy": proxy,
            "kl": shifts[step] ** 2 / 2,
        }
    )


def test_a_true_kl_raises_no_warning_and_an_understated_one_does() -> None:
    """The exact tilt has KL = bound: the hardest case; two answers a prompt, as a trained policy has."""
    warned = caught = 0
    for seed in range(60):
        _, curves = tilted(np.random.default_rng(seed))
        found, low = shortfall(curves), shortfall(replace(curves, kl=0.8 * curves.kl))
        assert found is not None and low is not None
        warned, caught = warned + found.warns, caught + low.warns
    assert warned <= 1 and caught >= 58


def test_the_bound_of_a_gaussian_tilt_is_its_kl() -> None:
    _, curves = tilted(np.random.default_rng(0), sampled=64)
    found = shortfall(replace(curves, kl=curves.kl * 0.9))
    assert found is not None and found.warns and found.bound == pytest.approx(found.kl / 0.9, rel=0.03)


@pytest.mark.parametrize(
    ("method", "policy"),
    [
        ("BestOfN", {}),
        ("BestOfPoisson", {}),
        ("SoftBestOfN", {"inverse_temperature": 2.0}),
        ("Pessimism", {"beta": 0.5}),
    ],
)
def test_the_rules_of_selection_pass(method: str, policy: dict) -> None:
    table = answers(questions=60, count=128)
    curves = selection_curves(table, method, policy)
    found, low = shortfall(curves), shortfall(replace(curves, kl=0.5 * curves.kl))
    assert found is not None and not found.warns and low is not None and low.warns


def test_a_proxy_with_many_ties_passes() -> None:
    table = answers(questions=60, count=128)
    coarse = np.rint(table["proxy"].to_numpy())
    table = table.set_column(table.column_names.index("proxy"), "proxy", [coarse])
    found = shortfall(selection_curves(table, "BestOfN", {}))
    assert found is not None and not found.warns


def test_tilts_stop_where_few_answers_would_decide() -> None:
    proxy = np.random.default_rng(1).normal(size=(50, 400)) * 3 + 10
    tilts = Tilts.of(np.arange(50), proxy)
    assert tilts is not None
    strongest = tilts.strengths[-1] * 3  # per SD
    assert 1.3 < strongest < 1.8  # 400 exp(-s^2) = 30 at s = 1.61
    assert tilts.cumulant.mean(axis=0) == pytest.approx((tilts.strengths * 3) ** 2 / 2, abs=0.03)
    assert Tilts.of(np.arange(50), proxy[:, :2]) is None  # two answers bear no tilt
    assert Tilts.of(np.arange(2), np.ones((2, 100))) is None


def test_other_prompts_than_the_tables_cannot_be_checked() -> None:
    table, curves = tilted(np.random.default_rng(2))
    assert curves.needed is not None
    fewer = rows(np.zeros(QUESTIONS * FRAMINGS + 2), SHIFTS, 2, np.random.default_rng(3))
    assert checkpoint_curves(fewer, table.initial).needed is None
    assert shortfall(checkpoint_curves(fewer)) is None


def test_what_a_figure_says() -> None:
    _, curves = tilted(np.random.default_rng(4))
    wrong = replace(curves, kl=0.5 * curves.kl)
    unknown = replace(curves, needed=None)
    arm = Arm("ppo", "1k", "main", "1k", 1000.0, ("0/0/0", "1/1/1", "2/2/2"), (curves, wrong, unknown), ())
    counts, warning = run_notes(Study((arm,)))
    assert "2 of 3 curves checked, 1 below it by more than 3 SE; 1 not checked for want of a table" in counts
    assert warning.startswith("WARNING: PPO, 1k, seeds 1/1/1: KL ") and "understated" in warning


def test_a_reward_model_that_diverged_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("ppo"), name="mine", questions=8))
    data = study(runs("mine", tmp_path))
    assert diverged_notes(data) == []
    loss = {"all": {"log_loss": 407_378.0}}
    monkeypatch.setattr(type(data.arms[0].runs[0]), "evaluation", lambda run, scorer: loss)
    (line,) = diverged_notes(data)
    assert "diverged in 2 of 2 runs" in line and "4.07e+05 nats" in line and "lower rm.lr" in line
