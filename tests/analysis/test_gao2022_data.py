"""Figures 4, 6 and 13 of Gao et al. 2022 in worlds where comparisons help, and where they do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, Sweep, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import gao2022_fig4, gao2022_fig6, gao2022_fig13
from analysis.reward_models import data_sizes
from analysis.reward_models.data_sizes import by_comparisons, by_size, comparisons
from analysis.runs.arms import study
from analysis.runs.rank_order import order
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

NAME, COUNTS, SIZES = "gao2022_data", (64, 250, 1000, 4000), ("1k", "25k")
CELLS = tuple(Cell("bon", {}, 5, rm=rm, pairs=count) for rm in SIZES for count in COUNTS)
REPEATED = tuple(
    Cell("bon", {}, 5, pairs=count, epochs=epochs) for count, epochs in ((1000, 1), (1000, 4), (4000, 1))
)
HELPS = Truth(
    learned={(64, None): 0.0, (250, None): 0.05, (1000, None): 0.12, (4000, None): 0.4},
    damage={f"{count} pairs": harm for count, harm in zip(COUNTS, (2.6, 2.6, 1.3, 0.4), strict=True)},
)
ALIKE = Truth(damage={"250 pairs": 0.5})  # pairs of 250 have a damage of their own in this world
EPOCHS_DO_NOT = Truth(learned={(1000, 1): 0.0, (1000, 4): 0.0, (4000, 1): 0.3})
EPOCHS_DO = Truth(learned={(1000, 1): 0.0, (1000, 4): 0.3, (4000, 1): 0.3})

Found = dict[tuple[str, str], Claim]


def write(root: Path, truth: Truth, cells: tuple[Cell, ...], questions: int = 48) -> Path:
    sweep = only(*cells, name=NAME, questions=questions, truth=truth)
    write_store(root, replace(sweep, answers=128))
    return root


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("helps"), HELPS, CELLS, questions=120)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("alike"), ALIKE, CELLS)


def claims(figure, root: Path) -> Found:
    return {(claim.subject, claim.topic): claim for claim in figure.make(runs(NAME, root)).claims}


def test_peaks_grow_with_comparisons_that_help(helps: Path) -> None:
    by_topic = claims(gao2022_fig4, helps)
    for rm in SIZES:
        assert by_topic[f"best-of-n, {rm}", "higher peak with more comparisons"].met is True
    assert len(by_topic) == 4 and not any(claim.conditional for claim in by_topic.values())


def test_comparisons_that_change_nothing_have_no_order(alike: Path) -> None:
    """But for the knee, which is where all gain, and for loss and gold, which differ between sizes."""
    by_topic = {**claims(gao2022_fig4, alike), **claims(gao2022_fig6, alike)}
    met = {topic for (_, topic), claim in by_topic.items() if claim.met}
    assert len(by_topic) == 8 and met <= {"knee not earlier than 1k's", "lower loss, more gold"}


def test_the_fewest_gain_nothing_and_a_knee_is_seen(helps: Path) -> None:
    by_topic = claims(gao2022_fig6, helps)
    for rm in SIZES:
        assert by_topic[f"best-of-n, {rm}", "fewest comparisons gain nothing"].met is True
    assert by_topic["best-of-n", "lower loss, more gold"].met is True
    assert by_topic["best-of-n, 25k", "knee not earlier than 1k's"].met is True


def test_a_lower_loss_from_the_peak_is_seen(tmp_path: Path) -> None:
    write(tmp_path, HELPS, tuple(cell for cell in CELLS if cell.pairs > 64))
    by_topic = claims(gao2022_fig4, tmp_path)
    assert all(by_topic[f"best-of-n, {rm}", "smaller loss with more comparisons"].met for rm in SIZES)


@pytest.mark.parametrize(
    ("knee", "reference", "expected"),
    [
        ((250, 250), (250, 250), True),
        ((1000, np.inf), (250, 1000), True),
        ((250, 1000), (250, 1000), None),
        ((64, 250), (1000, 4000), False),
        ((64, 250), (np.inf, np.inf), False),
        ((np.inf, np.inf), (np.inf, np.inf), None),
    ],
)
def test_knees_are_compared_as_far_as_they_are_known(knee, reference, expected) -> None:
    assert gao2022_fig6.not_earlier(gao2022_fig6.Knee(*knee), gao2022_fig6.Knee(*reference)) is expected


def test_epochs_that_gain_nothing_beside_fresh_comparisons(tmp_path: Path) -> None:
    by_topic = claims(gao2022_fig13, write(tmp_path, EPOCHS_DO_NOT, REPEATED))
    assert {topic for _, topic in by_topic} == {
        "epochs gain nothing",
        "fresh comparisons: lower log-loss",
        "fresh comparisons: more gold",
    }
    assert all(claim.met and not claim.conditional for claim in by_topic.values())


def test_epochs_that_do_as_much_as_fresh_comparisons(tmp_path: Path) -> None:
    by_topic = claims(gao2022_fig13, write(tmp_path, EPOCHS_DO, REPEATED))
    subject = "best-of-n, 3k, 4 x 1,000"
    assert by_topic[subject, "epochs gain nothing"].met is False
    assert not any(
        by_topic[subject, f"fresh comparisons: {quantity}"].met
        for quantity in ("lower log-loss", "more gold")
    )


def test_few_replicates_leave_it_undecided(tmp_path: Path) -> None:
    cells = tuple(replace(cell, replicates=2) for cell in CELLS + REPEATED)
    write(tmp_path, replace(HELPS, learned={**HELPS.learned, **EPOCHS_DO_NOT.learned}), cells)
    for figure in (gao2022_fig4, gao2022_fig6):
        assert {claim.met for claim in claims(figure, tmp_path).values()} == {None}
    by_topic = claims(gao2022_fig13, tmp_path)
    assert by_topic["best-of-n, 3k, 4 x 1,000", "epochs gain nothing"].met is None


def test_arms_say_their_epochs_where_a_job_asks_for_them(tmp_path: Path) -> None:
    write(tmp_path, Truth(), (*REPEATED, Cell("bon", pairs=1000)))
    all_runs = runs(NAME, tmp_path)
    assert {arm.label for arm in study(all_runs).arms} == {
        "3k, 1 epoch",
        "3k, 1,000 pairs, 1 epoch",
        "3k, 1,000 pairs, 4 epochs",
        "3k, 1,000 pairs",
    }
    with pytest.raises(MissingRuns, match="two numbers of comparisons"):
        by_comparisons(all_runs)
    with pytest.raises(MissingRuns, match=r"rm\.epochs=E"):
        gao2022_fig13.make([run for run in all_runs if run.config["rm"]["epochs"] == 1])


def test_sizes_and_comparisons_are_in_order(alike: Path) -> None:
    arms_of_size = by_size(by_comparisons(runs(NAME, alike)))
    assert list(arms_of_size) == list(SIZES)
    assert all([comparisons(arm) for arm in arms] == list(COUNTS) for arms in arms_of_size.values())


def test_the_order_of_noise_is_seldom_found(alike: Path) -> None:
    """Numbers that know nothing of comparisons, 100 times: the interval is above 0 about one time in forty."""
    arms = by_size(by_comparisons(runs(NAME, alike)))["1k"]
    rng, met = np.random.default_rng(0), 0
    for _ in range(100):
        noise = [np.repeat(rng.normal(size=(1, 5)), 301, axis=0) for _ in arms]
        met += order(arms, [comparisons(arm) for arm in arms], noise).signed().interval().lo > 0
    assert met <= 9  # of 100 at 1 in 20 more are seen one time in 35


def test_held_out_pairs_are_the_same_for_every_reward_model(helps: Path) -> None:
    arms = by_comparisons(runs(NAME, helps)).arms
    by_count = {comparisons(arm): data_sizes.judged(arm) for arm in arms if arm.rm == "25k"}
    losses = [float(by_count[count].log_loss[0].mean()) for count in COUNTS]
    assert losses[0] > np.log(2) > losses[-1] and by_count[4000].accuracy[0].mean() > 0.7
    assert by_count[64].accuracy[0].mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("figure", ["gao2022_fig4", "gao2022_fig6"])
def test_the_command_draws_it(helps: Path, tmp_path: Path, figure: str) -> None:
    assert main([figure, "--store", str(helps), "--out", str(tmp_path)]) == 0
    fits = pd.read_csv(tmp_path / f"{figure}.fits.csv")
    ranked = fits[fits["form"] == "rank correlation"]
    assert len(ranked) >= 4 and ranked["estimate"].between(-1, 1).all()
    assert set(pd.read_csv(tmp_path / f"{figure}.csv")["comparisons"]) == set(COUNTS)


def test_the_command_draws_epochs(tmp_path: Path) -> None:
    write(tmp_path / "store", EPOCHS_DO_NOT, REPEATED)
    assert main(["gao2022_fig13", "--store", str(tmp_path / "store"), "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "gao2022_fig13.csv")
    assert table.groupby("cell").size().to_dict() == {"1 x 1,000": 6, "4 x 1,000": 6, "1 x 4,000": 6}


def test_what_papers_say_of_accuracy_is_printed_with_what_was_measured(helps: Path) -> None:
    note = gao2022_fig6.make(runs(NAME, helps)).notes[0]
    assert "Gao et al." in note and "Razin et al." in note and "log-loss -" in note


def test_sweeps_of_one_number_of_comparisons_are_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(name="mine", few_pairs=False, control=False, questions=8, answers=16))
    with pytest.raises(MissingRuns, match="two numbers of comparisons"):
        gao2022_fig6.make(runs("mine", tmp_path))
