"""The figure of hedging from a store whose best-of-n runs stand for every rule: rules share one table."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fake_store import Sweep, write_store

from analysis.drawing.result import FigureResult, write
from analysis.figures import khalaf2025_hedging
from analysis.figures.khalaf2025_hedging import equal_kl_difference, hindsight, make, on_unseen
from analysis.runs import run_curves
from analysis.runs.arms import study, title
from analysis.runs.run_curves import curves_of, rows_of
from analysis.runs.tables import observed_rows
from rlhf_lab.store.records import MissingRuns, Run, classes_of, runs

RULES = {
    "best_of_poisson": ("BestOfPoisson", {}),
    "soft_bon": ("SoftBestOfN", {"inverse_temperature": 2.0}),
    "pessimism": ("Pessimism", {"beta": 0.5}),
    "mbr_bon": ("MBRBestOfN", {"proximity": 1.0}),
}
TUNED = [("bon", 4), ("bon", 20), ("best_of_poisson", 20), ("soft_bon", 20)]


def as_rule(run: Run, option: str, method: str, more: dict) -> Run:
    config = dict(run.config) | {"policy": dict(run.config["policy"]) | more}
    choices = dict(run.choices) | {"policy": option}
    classes = classes_of(choices, config)
    return replace(run, method=method, choices=choices, classes=classes, config=config)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("store")
    size = {
        "questions": 60,
        "answers": 64,
        "replicates": 5,
        "ppo_replicates": 0,
        "few_pairs": False,
        "control": False,
    }
    write_store(root, Sweep(name="khalaf2025_hedging", tokens=3, damage=0.5, **size))
    plain = runs("khalaf2025_hedging", root)
    rules = [as_rule(run, option, *rule) for option, rule in RULES.items() for run in plain]
    tuned = [
        as_rule(run, "hedge_tune", "HedgeTune", {"rule": rule, "gold_questions": count})
        for rule, count in TUNED
        for run in plain
    ]
    return [*plain, *rules, *tuned]


@pytest.fixture(scope="module")
def result(sweep: list[Run]) -> FigureResult:
    return make(sweep)


def test_every_curve_is_on_questions_whose_gold_no_run_looked_at(sweep: list[Run]) -> None:
    read = on_unseen(study(sweep))
    assert {arm.questions for arm in read.arms} == {40}
    assert len(read.arms) == 2 * (1 + len(RULES) + len(TUNED))
    assert read.methods[0] == "bon" and "hedge:bon:4" in read.methods


def test_the_plotted_numbers(result: FigureResult) -> None:
    mean = result.table[result.table["curve"] == "mean"]
    assert set(mean["kl_estimator"]) == {"tie-aware plug-in"}
    start = mean[mean["n_or_step"] <= 1].groupby("method").first()
    assert start["gold"].to_numpy() == pytest.approx(0) and start["kl"].abs().max() < 1e-6
    chosen = result.fits.set_index(["method", "rm", "form"])
    largest = chosen.loc[("bon", "3k", "largest n")]
    of_table = mean[(mean["method"] == "bon") & (mean["rm"] == "3k")].iloc[-1]
    assert largest["strength"] == 32 and largest["estimate"] == pytest.approx(of_table["gold"])
    tuned = chosen.loc[("hedge:bon:20", "3k", "HedgeTune")]
    assert 1 < tuned["strength"] < 32 and tuned["estimate"] > largest["estimate"]


def test_claims_in_a_world_that_turns(result: FigureResult) -> None:
    by_topic: dict[str, list[bool | None]] = {}
    for claim in result.claims:
        by_topic.setdefault(claim.topic, []).append(claim.met)
        assert claim.n == 40 and claim.replicates == 5
    assert all(by_topic["beats largest n"]) and len(by_topic["beats largest n"]) == 8
    assert all(
        claim.met for claim in result.claims if claim.topic == "regret" and "soft" not in claim.subject
    )
    assert all(by_topic["falls less"])
    assert (
        len(by_topic["equals best-of-n at its KL"]) == 2
        and False not in by_topic["equals best-of-n at its KL"]
    )
    likeness = by_topic["beats best-of-n's best"]  # right answers are alike in this world
    assert True in likeness and False not in likeness


def test_claims_in_a_world_that_does_not_turn(sweep: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gold is the proxy nothing beats the largest n, and pessimism only loses."""

    def faithful(run: Run, unseen: bool = False) -> pa.Table:
        rows = run.rows(["prompt_id", "question_id", "finished", "gold", "proxy"])
        return rows.set_column(rows.column_names.index("gold"), "gold", rows["proxy"])

    monkeypatch.setattr(run_curves, "rows_of", faithful)
    few = [run for run in sweep if run.method in ("BestOfN", "Pessimism", "HedgeTune")]
    result = make(few)
    claims = result.claims
    assert result.fits["note"].str.contains("no root in 5 of 5 runs").sum() >= 4
    met = {
        topic: {claim.met for claim in claims if claim.topic == topic}
        for topic in ("beats largest n", "falls less")
    }
    assert met == {"beats largest n": {False}, "falls less": {False}}


def test_notes_say_what_was_checked(result: FigureResult) -> None:
    assert "40 questions" in result.notes[0] and "90 of 90 curves checked, 0 below" in result.notes[1]
    assert len(result.notes) == 2


def test_the_axes_name_their_estimator(result: FigureResult, tmp_path: Path) -> None:
    labels = [axes.get_xlabel() for axes in result.figure.axes]
    assert "KL from SFT (nats): tie-aware plug-in" in labels
    words = {text.get_text() for text in result.figure.legends[0].get_texts()}
    assert "HedgeTune (uses gold)" in words and "best-of-Poisson" in words
    with contextlib.redirect_stdout(io.StringIO()):
        paths = write(result, "khalaf2025_hedging", tmp_path)
    assert len(paths) == 5 and "toy" in set(pd.read_csv(paths[2])["curve"])


def test_without_hedgetune_there_is_no_figure(sweep: list[Run]) -> None:
    with pytest.raises(MissingRuns, match="HedgeTune"):
        make([run for run in sweep if run.method != "HedgeTune"])


def test_best_of_n_equals_itself_at_equal_kl_and_gold_itself_has_no_regret(sweep: list[Run]) -> None:
    arm = next(arm for arm in study(sweep).arms if arm.method == "bon")
    assert equal_kl_difference(arm, arm) == pytest.approx(0)
    peak = arm.stacked("gold").mean(axis=1).max()
    assert hindsight(arm).mean() <= peak + 1e-9  # measured where it was not chosen


def test_runs_of_one_table_read_it_once_and_have_the_curves_they_have_alone(
    sweep: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [run for run in sweep if run.config["rm"]["seed"] == 0]
    alone = [curves_of(run) for run in some]
    read: list[str] = []

    def counted(run: Run, unseen: bool = False) -> pa.Table:
        read.append(run.key)
        return rows_of(run, unseen=unseen)

    monkeypatch.setattr(run_curves, "rows_of", counted)
    together = run_curves.chosen_curves(some)
    assert len(some) == 18 and len(read) == 2  # a table a reward model
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.kl, other.kl) and np.array_equal(one.values["gold"], other.values["gold"])


def test_every_rule_is_on_the_axis_of_best_of_n(sweep: list[Run]) -> None:
    for arm in study(sweep).arms:
        assert arm.chooses and {row["x"] for row in observed_rows(arm)} == {"tie-aware"}


def test_names() -> None:
    assert title("hedge:best_of_poisson:40") == "HedgeTune of best-of-Poisson (40 questions)"
    assert title("soft_bon") == "soft best-of-n" and title("mine") == "mine"
    assert khalaf2025_hedging.SWEEPS == ("khalaf2025_hedging",)
