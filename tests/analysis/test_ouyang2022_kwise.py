"""Rankings read whole and shuffled where shuffled ones overfit, and where they do not."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Cell, only, write_store

from analysis.commands.figures import main
from analysis.figures import ouyang2022_kwise
from analysis.reward_models.heldout import heldout
from analysis.runs.arms import study
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CALM, SURE = (0.65, 0.6), (0.65, 2.5)  # as often right; one of them is too sure of itself


def cells(shuffled: tuple[float, float], rankings: tuple[float, float] = CALM) -> list[Cell]:
    cells_of_epochs = []
    for epochs in (1, 3):

        def learned(answers: int, order: str, heldout: tuple[float, float], epochs: int = epochs) -> Cell:
            training = {"epochs": epochs, "rankings": order}
            return Cell("bon", {}, 5, answers=answers, training=training, heldout=heldout)

        cells_of_epochs += [
            learned(2, "whole", CALM),
            learned(9, "whole", rankings),
            learned(9, "shuffled", shuffled),
        ]
    return cells_of_epochs


def write(root: Path, *sweep_cells: Cell) -> Path:
    write_store(root, replace(only(*sweep_cells, name="ouyang2022_kwise", questions=48), answers=32))
    return root


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("overfitted"), *cells(SURE, (0.55, 0.6)))


def claims(root: Path) -> dict[tuple[str, str], Claim]:
    all_claims = ouyang2022_kwise.make(runs("ouyang2022_kwise", root)).claims
    return {(claim.subject, claim.topic): claim for claim in all_claims}


def test_shuffled_pairs_that_overfit_and_fewer_prompts_that_cost_accuracy_are_told(overfitted: Path) -> None:
    by_topic = claims(overfitted)
    assert len(by_topic) == 6 and not any(claim.conditional for claim in by_topic.values())
    for epochs in ("1 epoch", "3 epochs"):
        assert by_topic[f"K = 9, whole, {epochs}", "log-loss below shuffled"].met is True
        assert by_topic[f"K = 9, whole, {epochs}", "log-loss above pairs"].met is True


def test_shuffled_pairs_that_are_like_whole_rankings_are_not(tmp_path: Path) -> None:
    by_topic = claims(write(tmp_path, *cells(CALM)))
    for (_, topic), claim in by_topic.items():
        assert claim.met is not True, topic
        assert claim.met is False or topic != "log-loss below shuffled"


def test_numbers_are_those_of_the_held_out_pairs(overfitted: Path) -> None:
    selected = ouyang2022_kwise.studies(runs("ouyang2022_kwise", overfitted))[3]
    run = next(arm for arm in selected.arms if "shuffled" in arm.label).runs[0]
    measured = heldout(run)
    (key,) = run.reward_models()
    pairs = run.comparisons(key).to_pandas()
    gap = (pairs["chosen_reward"] - pairs["rejected_reward"])[pairs["split"] == "heldout"].astype(float)
    assert measured.drawn("accuracy")[0] == pytest.approx((gap > 0).mean())
    assert measured.drawn("log_loss")[0] == pytest.approx(np.logaddexp(0, -gap).mean())
    assert (
        measured.trained == 5 * 36 and measured.prompts == 5
    )  # 4,000 pairs are 111 rankings, a twentieth of them here
    assert measured.training_loss == pytest.approx(0.69 - 0.001 * np.mean([90, 100]))


def test_rankings_and_how_they_are_read_are_arms_of_their_own(tmp_path: Path) -> None:
    pairs = [Cell("bon", training={"rankings": "whole"})]
    ranked = [Cell("bon", answers=4, training={"rankings": rankings}) for rankings in ("whole", "shuffled")]
    labels = {arm.label for arm in study(runs("ouyang2022_kwise", write(tmp_path, *pairs, *ranked))).arms}
    assert labels == {"3k", "3k, rankings of 4", "3k, rankings of 4, pairs shuffled"}


def test_without_shuffled_pairs_there_is_no_such_figure(tmp_path: Path) -> None:
    write(tmp_path, *(cell for cell in cells(CALM) if cell.training["rankings"] == "whole"))
    with pytest.raises(MissingRuns, match="shuffled pairs"):
        ouyang2022_kwise.make(runs("ouyang2022_kwise", tmp_path))


def test_the_command_draws_it(overfitted: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["ouyang2022_kwise", "--store", str(overfitted), "--out", str(tmp_path)]) == 0
    assert "K = 9: 180 pairs of 5 prompts" in printed.getvalue()
    fits = pd.read_csv(tmp_path / "ouyang2022_kwise.fits.csv")
    assert set(fits["parameter"]) == {
        "held-out log-loss",
        "held-out accuracy",
        "gold at the largest n",
        "training log-loss",
    }
