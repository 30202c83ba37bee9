import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Sweep, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import methods
from analysis.runs import gold_lost
from analysis.runs.arms import Arm, study
from analysis.statistics.claims import Claim
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, runs

LOSES, MOST = "loses more than best-of-n", "loses most"


def write(root: Path, truth: Truth, *cells: Cell) -> None:
    alone = {"few_pairs": False, "control": False, "answers": 256, "rms": ("3k",), "questions": 64}
    sweep = Sweep(name="methods", replicates=5, ppo_replicates=5, truth=truth, cells=cells, **alone)
    write_store(root, sweep)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DPO loses much, GRPO nothing; KTO stays near the initial policy."""
    root = tmp_path_factory.mktemp("store")
    cells = (Cell("dpo", {}, 5), Cell("grpo", {}, 5, uses_gold=True), Cell("kto", {"beta": 0.4}, 5))
    write(root, Truth(damage={"dpo": 2.0, "grpo": 0.2}), *cells)
    return root


def found(claims: list[Claim], subject: str, topic: str) -> Claim:
    return next(claim for claim in claims if (claim.subject, claim.topic) == (subject, topic))


def test_each_method_against_best_of_n_at_equal_kl(store: Path) -> None:
    claims = methods.make(runs("methods", store)).claims
    assert found(claims, "method, DPO", LOSES).met is True
    assert found(claims, "method, GRPO", LOSES).met is None  # it has not turned in the range that both reach
    near = found(claims, "method, KTO", LOSES)
    assert near.met is None and "below KL 2, undecided" in near.rule
    assert not any(claim.topic == LOSES and claim.subject == "method, best-of-n" for claim in claims)
    assert found(claims, "method, DPO", "gold turns").met is True


def test_the_method_that_loses_most_is_named_with_its_share_of_draws(store: Path) -> None:
    made = methods.make(runs("methods", store))
    most = found(made.claims, "all methods", MOST)
    assert (
        most.met is True
        and most.claim.startswith("all methods: DPO")
        and "100% of bootstrap draws" in most.claim
    )
    assert any("KTO" in note for note in made.notes) and made.notes[0].startswith("DPO")
    share = made.fits[made.fits["parameter"] == "share of draws with the largest loss"]
    assert share["estimate"].sum() == pytest.approx(1) and set(share["method"]) == {
        "bon",
        "dpo",
        "grpo",
        "ppo",
    }
    assert set(made.table.loc[made.table["uses_gold"], "method"]) == {"grpo"}


def test_it_has_to_hold_under_both_kls_of_best_of_n(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a bound by which best-of-n has lost as much, DPO has not lost more."""
    sides = iter([(0.5, 0.1), (0.01, 0.02)] * 10)

    def against(arm: object, best: object, axis: str) -> gold_lost.Against:
        return gold_lost.Against(Estimate.plain(*next(sides), replicates=5), 3.0, 64, turned=True)

    monkeypatch.setattr(methods, "against", against)
    claim = found(methods.make(runs("methods", store)).claims, "method, DPO", LOSES)
    assert claim.met is False and claim.measured == 0.01


def falling(arm: Arm) -> Arm:
    """Return the arm with gold that peaks at its second point."""
    curves = []
    for one in arm.curves:
        gold = one.values["gold"].copy()
        gold[:, 1:] -= np.arange(gold.shape[1] - 1) - 1.0
        curves.append(replace(one, values=one.values | {"gold": gold}))
    return replace(arm, curves=tuple(curves))


def test_losses_under_the_bound_are_measured_at_the_bound_s_kl(store: Path) -> None:
    bon = falling(study(runs("methods", store)).of("bon")[0])
    assert gold_lost.reach(bon) <= gold_lost.reach(bon, "bound")
    lost = gold_lost.losses(bon, 2.0, "bound")
    assert lost.shape == (5, 64)
    stretched = replace(bon, curves=tuple(replace(one, kl=one.kl * 2) for one in bon.curves))
    assert gold_lost.losses(stretched, 2.0, "bound") == pytest.approx(lost)
    assert not np.allclose(gold_lost.losses(stretched, 2.0), gold_lost.losses(bon, 2.0))


def test_a_method_that_has_not_turned_in_the_shared_range_is_undecided(store: Path) -> None:
    made = study(runs("methods", store))
    bon, grpo = made.of("bon")[0], made.of("grpo")[0]
    assert not gold_lost.against(grpo, falling(bon), "bound").turned
    assert gold_lost.against(falling(bon), bon, "bound").turned


def test_only_questions_that_both_have_are_compared(store: Path) -> None:
    read = study(runs("methods", store))
    bon, dpo = read.of("bon")[0], read.of("dpo")[0]
    curves = []
    for one in dpo.curves:
        values = {name: value[10:] for name, value in one.values.items()}
        at = one.initial.at(one.questions[10:])
        curves.append(replace(one, questions=one.questions[10:], kl=one.kl[10:], values=values, initial=at))
    fewer = replace(dpo, curves=tuple(curves))
    assert gold_lost.against(fewer, bon, "bound").questions == 54
    assert gold_lost.ranking([bon, fewer], 2.0).questions == 54


def test_a_rule_at_one_strength_is_a_point_and_nothing_is_claimed_of_it(store: Path) -> None:
    dpo = study(runs("methods", store)).of("dpo")[0]
    curves = []
    for one in dpo.curves:
        values = {name: value[:, [0, -1]] for name, value in one.values.items()}
        ends = {"points": one.points[[0, -1]], "kl": one.kl[:, [0, -1]], "kl_good": one.kl_good[[0, -1]]}
        curves.append(replace(one, values=values, **ends))
    point = replace(dpo, curves=tuple(curves))
    assert gold_lost.is_curve(dpo) and not gold_lost.is_curve(point)
    gold = gold_lost.gold_at(point, gold_lost.reach(point))
    assert gold[1] < gold[0] < gold[2] and np.isnan(gold_lost.gold_at(point, 1e3)).all()


def test_the_command_prints_one_table_of_methods(store: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["methods", "--store", str(store), "--out", str(tmp_path)]) == 0
    lines = printed.getvalue().splitlines()
    assert sum(line.startswith("method ") for line in lines) == 1
    rows = [line for line in lines if re.search(r"\[-?\d", line) and ":" not in line]
    assert [row.split(" ")[0] for row in rows] == ["best-of-n", "DPO", "GRPO", "KTO", "PPO"]
    assert all(len(row) <= 80 for row in rows)
    fits = pd.read_csv(tmp_path / "methods.fits.csv")
    assert fits.groupby("method").size().to_dict() == {"bon": 7, "dpo": 7, "grpo": 7, "kto": 5, "ppo": 7}


def test_without_best_of_n_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("dpo"), name="methods", questions=8))
    with pytest.raises(MissingRuns, match="no run of best-of-n"):
        methods.make(runs("methods", tmp_path))
