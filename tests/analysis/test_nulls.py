"""How often claims come out met where they are not true: 20 small worlds each, through the code that decides.

`python -m analysis.worlds.nulls` does so for claim 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_store import Cell, Sweep, Truth, drawn, jobs, only, write_store
from scipy.stats import binom
from test_hedging_figure import as_rule

import analysis.runs.arms
import analysis.runs.run_curves
from analysis.figures import gao2022_fig8, gao2022_fig9, gao2022_fig14, methods, rafailov2024_fig1
from analysis.figures.khalaf2025_hedging import make_claims, on_unseen
from analysis.runs import gold_lost
from analysis.runs.arms import Study, study
from analysis.runs.penalties import by_beta, penalised
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.store.records import Run, runs

WORLDS = 20
SMALL = {
    "questions": 24,
    "framings": 1,
    "checkpoints": 7,
    "answers": 128,
}  # so that best-of-n gets beyond 2 nats
Studies = Callable[..., Iterator[Study]]
Rules = Callable[[Run], list[Run]]


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studies:
    """Studies of a sweep whose runs are drawn anew for each; what its store holds is not read."""

    def studies(sweep: Sweep, rules: Rules = lambda run: [run], unrelated: bool = False) -> Iterator[Study]:
        """`rules` give what is made from the table of a run of best-of-n; `unrelated`: gold does not know the proxy."""
        write_store(tmp_path, replace(sweep, questions=2, answers=2))
        all_runs, jobs_of = runs(sweep.name, tmp_path), jobs(sweep)
        monkeypatch.setattr(analysis.runs.arms, "DRAWS", 100)
        for world in range(WORLDS):

            def rows(
                run: Run, columns: Sequence[str] = (), unseen: bool = False, world: int = world
            ) -> pa.Table:
                number = int(run.key[:8], 16)
                rng = np.random.default_rng([number, world])
                samples, scores = drawn(jobs_of[number], sweep, rng)
                if unrelated:
                    scores["gold"] = rng.permutation(scores["gold"])
                return pa.table(samples | scores)

            monkeypatch.setattr(analysis.runs.run_curves, "rows_of", rows)
            yield study([rule_run for run in all_runs for rule_run in rules(run)])

    return studies


def sweep(*cells: Cell, best_of_n: int = 0, **truth: Any) -> Sweep:
    small_sweep = only(*cells, name="mine", truth=Truth(**truth))
    return replace(small_sweep, rms=("3k",), replicates=best_of_n, ppo_replicates=0, **SMALL)


def assert_seldom_met(claims: list[Claim], rate: float) -> None:
    """Not more often than once in 1000 times if each is met at `rate`."""
    assert len(claims) == WORLDS and not any(claim.conditional for claim in claims)
    met = sum(claim.met is True for claim in claims)
    assert met <= binom.ppf(0.999, WORLDS, rate), [claim.measured for claim in claims]


def test_methods_that_are_alike_are_not_ranked_and_lose_no_more_than_best_of_n(worlds: Studies) -> None:
    loses_more, loses_most = ClaimTable("methods"), ClaimTable("methods")
    for world in worlds(sweep(Cell("grpo", {}, 5), Cell("rloo", {}, 5), best_of_n=5)):
        ranked = gold_lost.ranking(world.arms, loses_most.limits["loses_most"]["least_kl"])
        entries = [methods.entry_of(arm, world.arms, ranked.reach) for arm in world.arms]
        methods.claim_loses_more(loses_more, entries[1], world.arms[0])
        methods.claim_loses_most(loses_most, ranked, entries)
    assert_seldom_met(loses_more, 0.025)
    assert_seldom_met(loses_most, 0.05)


def test_ipo_that_loses_as_much_as_dpo_is_seldom_said_to_lose_less(worlds: Studies) -> None:
    cells = [Cell(method, {"beta": beta}, 5) for method in ("dpo", "ipo") for beta in (0.02, 0.1, 0.5)]
    claims = ClaimTable("rafailov2024_fig1")
    for world in worlds(sweep(*cells)):
        arms_of = {method: by_beta(world, method) for method in world.methods}
        rafailov2024_fig1.claim_ipo_loses_less(claims, arms_of)
    assert_seldom_met(claims, 0.025)


def test_gold_that_differs_at_equal_kl_and_equal_proxy_is_seldom_closer_over_the_proxy(
    worlds: Studies,
) -> None:
    claims = ClaimTable("gao2022_fig8")
    for world in worlds(sweep(Cell("ppo", {}, 5), best_of_n=5, slip=0.6)):
        gao2022_fig8.claim_closer(claims, gao2022_fig8.pairs(world)[0])
    assert_seldom_met(claims, 0.025)


def test_penalties_that_gain_nothing_at_equal_kl_are_seldom_said_to(worlds: Studies) -> None:
    proxy, chi2 = ClaimTable("gao2022_fig9"), ClaimTable("gao2022_fig9")
    kinds = (
        {"kl_coef": 0.0},
        {"kl_coef": 0.1},
        {"kl_coef": 0.1, "divergence": "sqrt_chi2", "kl_place": "loss"},
    )
    for world in worlds(sweep(*(Cell("ppo", kind, 5) for kind in kinds))):
        plain, chi2_penalty = penalised(world)
        comparison = gao2022_fig9.compare(world, [plain], "proxy")[plain.title]
        gao2022_fig9.claim_proxy_at_kl(proxy, plain, comparison)
        gao2022_fig9.claim_chi2_above_kl(chi2, world, chi2_penalty)
    assert_seldom_met(proxy, 0.025)
    assert_seldom_met(chi2, 0.025)


def test_where_gold_does_not_know_the_proxy_hedging_seldom_gains(worlds: Studies) -> None:
    """Neither does HedgeTune over the largest n, nor does pessimism fall less than best-of-n."""
    hedged, pessimism = [], []

    def rules(run: Run) -> list[Run]:
        tuned = as_rule(run, "hedge_tune", "HedgeTune", {"rule": "bon", "gold_questions": 8})
        return [run, tuned, as_rule(run, "pessimism", "Pessimism", {"beta": 0.5})]

    for world in worlds(replace(sweep(best_of_n=5), answers=32), rules, unrelated=True):
        claims = ClaimTable("khalaf2025_hedging")
        make_claims(claims, on_unseen(world))
        by_topic = {claim.topic: claim for claim in claims}
        hedged.append(by_topic["beats largest n"])
        pessimism.append(by_topic["falls less"])
    assert_seldom_met(hedged, 0.025)
    assert_seldom_met(pessimism, 0.025)


def test_a_power_of_the_steps_at_the_edge_of_what_is_called_a_square_is_seldom_called_one(
    worlds: Studies,
) -> None:
    claims = ClaimTable("gao2022_fig14")
    edge = (2 + claims.limits["square_of_step"]["margin"]) / 2
    for world in worlds(sweep(Cell("ppo", {"kl_coef": 0.0}, 5), power=edge)):
        gao2022_fig14.claim_square(claims, world.arms[0])
    assert_seldom_met(claims, 0.05)
