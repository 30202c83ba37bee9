"""What each knob buys, drawn from a store where one knob of three does something."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import what_matters
from analysis.runs.designs import DROP, END, PEAK
from rlhf_lab.store.records import runs

CELLS = [
    *(
        Cell("bon", {}, 3, rm=rm, rule=rule, rate=rate)
        for rm in ("3k", "25k")
        for rule in ("single", "mean")
        for rate in (None, 0.25)
    ),
    *(  # a fraction: the penalty stands where the product of the others does
        Cell("ppo", {"kl_coef": 0.1 if one ^ two ^ three else 0.0}, 3, rm=rm, rule=rule, rate=rate)
        for one, rm in enumerate(("3k", "25k"))
        for two, rule in enumerate(("single", "mean"))
        for three, rate in enumerate((None, 0.25))
    ),
]


def write(root: Path, name: str, cells: list[Cell], truth: Truth | None = None) -> Path:
    sweep = only(*cells, name=name, questions=32, truth=truth)
    write_store(root, replace(sweep, answers=64, checkpoints=6))
    return root


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers that ensembles like lose less."""
    root = tmp_path_factory.mktemp("helped")
    return write(root, "what_matters", CELLS, Truth(damage={"single": 3.0, "mean": 0.5}))


def test_the_knob_that_helps_is_told_from_those_that_do_nothing(helped: Path) -> None:
    made = what_matters.make(runs("what_matters", helped))
    states = {(claim.subject, claim.topic): claim.met for claim in made.claims}
    assert len(states) == 2 * (3 + 3) + 1  # the penalty has a side in what is lost alone
    for method in ("best-of-n", "PPO"):
        assert states[f"{method}, combination: single to mean of 5", "peak gold"] is True
        assert states[f"{method}, combination: single to mean of 5", "gold lost after it"] is True
    assert states["best-of-n, label noise: clean labels to 25 % flipped", "peak gold"] is not True
    assert made.table["knob"].iloc[0] == "combination: single to mean of 5"


def test_the_table_adds_up(helped: Path) -> None:
    table = what_matters.make(runs("what_matters", helped)).table
    wide = table.pivot_table(index=["method", "knob"], columns="measure", values=["effect", "mean_first"])
    for of in ("effect", "mean_first"):
        assert (wide[of, PEAK] - wide[of, DROP]).to_numpy() == pytest.approx(wide[of, END].to_numpy())
    apart = (table["mean_second"] - table["mean_first"]).to_numpy()
    assert apart == pytest.approx(table["effect"].to_numpy())
    assert set(table["n"]) == {24} and set(table["df"]) == {14.0} and (table["lo"] < table["hi"]).all()


def test_a_trained_policy_takes_its_scale_from_best_of_n(helped: Path) -> None:
    made = what_matters.make(runs("what_matters", helped))
    assert any("KL" in note and "checked" in note for note in made.notes), made.notes


def test_notes_say_how_the_numbers_were_made(helped: Path) -> None:
    notes = "\n".join(what_matters.make(runs("what_matters", helped)).notes)
    for words in (
        "8 cells, 3 replicates",
        "or later in",
        "questions are",
        "F = ",
        "exploratory: the largest of",
    ):
        assert words in notes


def test_the_command_draws_it(helped: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["what_matters", "--store", str(helped), "--out", str(tmp_path)]) == 0
    assert "mean of 5" in printed.getvalue() and "exploratory" in printed.getvalue()
    assert (tmp_path / "what_matters.png").stat().st_size > 20_000
    fits = pd.read_csv(tmp_path / "what_matters.fits.csv")
    assert set(fits["form"]) == {"error", "exploratory"}
    assert "rm x rm_combination = labeler x policy.kl_coef" in set(fits["parameter"])


def test_any_sweep_that_is_a_design_is_shown_without_claims(tmp_path: Path) -> None:
    write(tmp_path, "mine", [Cell("bon", {}, 2, rm=rm) for rm in ("3k", "25k")])
    made = what_matters.make(runs("mine", tmp_path))
    assert made.claims == [] and list(made.table["setting"].unique()) == ["rm"] and len(made.table) == 4


def test_a_sweep_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "mine", [Cell("bon", rm=rm) for rm in ("1k", "3k", "25k")])
    assert main(["what_matters", "--sweep", "mine", "--store", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_one_replicate_is_drawn_and_undecided(tmp_path: Path) -> None:
    write(tmp_path, "what_matters", [replace(cell, replicates=1) for cell in CELLS[:8]])
    made = what_matters.make(runs("what_matters", tmp_path))
    assert {claim.met for claim in made.claims} == {None} and "one replicate" in made.notes[1]
