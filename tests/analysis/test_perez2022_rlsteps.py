"""Policies of three sizes that come to say what the user said, or do not, over steps of RL."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from fake_refusers import Likes, Said, World, write
from fake_sycophants import GOLD, sycophantic

from analysis.behaviour import answer_shares
from analysis.commands.figures import main
from analysis.drawing.result import FigureResult
from analysis.figures import perez2022_rlsteps
from analysis.runs.arms import study
from analysis.statistics.claims import ClaimTable, thresholds
from rlhf_lab.store.records import MissingRuns, runs

SWEEP = "perez2022_rlsteps"
ALIKE = {"10k": 0.4, "25k": 0.4, "100k": 0.4}
GROWING = {"10k": 0.2, "25k": 0.4, "100k": 0.7}


def pleased(dose: float, answers: Said) -> np.ndarray:
    return dose * answers["keeps"]


def world(likes: Likes, agrees: dict[str, float], **changed) -> World:
    settings = {"questions": 100, "each": 6, "refuses": (0.5, 0.02)} | changed
    return World(SWEEP, (), (GOLD, sycophantic(2.0)), likes, agrees=agrees, **settings)


def decided(ladders_of: dict[float, perez2022_rlsteps.Ladder], limits: dict | None = None) -> ClaimTable:
    claims = ClaimTable(SWEEP, limits=dict(thresholds(SWEEP)) | (limits or {}))
    perez2022_rlsteps.make_claims(claims, ladders_of)
    return claims


def states(result: FigureResult) -> dict[tuple[str, str], bool | None]:
    return {(claim.subject, claim.topic): claim.met for claim in result.claims}


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("growing"), world(pleased, GROWING))


def test_rl_and_size_are_told_apart_where_both_matter(growing: Path) -> None:
    result = perez2022_rlsteps.make(runs(SWEEP, growing))
    met = states(result)
    for size in GROWING:
        assert met[f"{size} policy", "RL raises it"] is True
        assert met[f"{size} policy", "similar over steps"] is not False
    for subject in ("0 steps, gold", "60 steps, gold", "60 steps, sycophantic labeler"):
        assert met[subject, "grows with size"] is True and met[subject, "same at all sizes"] is False, subject
    shares = result.table[(result.table["number"] == "matches") & (result.table["n_or_step"] == 0)]
    expected = np.minimum(
        np.linspace(0.8, 1.2, 100, endpoint=False)[:, None] * list(GROWING.values()), 1
    ).mean(axis=0)
    for model, share in zip(GROWING, expected, strict=True):
        assert np.allclose(shares.loc[shares["model"] == model, "value"], share, atol=0.02)
    silent = result.table[result.table["number"] == "no claim"]
    assert silent["value"].between(0.04, 0.1).any() and "Perez" in result.notes[0]


def test_where_neither_matters_steps_and_sizes_are_alike(tmp_path: Path) -> None:
    still = world(lambda dose, answers: 0 * answers["keeps"], ALIKE)
    sweep_study = study(runs(SWEEP, write(tmp_path, still)))
    ladders = perez2022_rlsteps.ladders(answer_shares.measure_arms(sweep_study, perez2022_rlsteps.of_run))
    claims = decided(ladders)
    grown = [claim for claim in claims if claim.topic in ("RL raises it", "grows with size")]
    assert len(grown) == 6 and not any(claim.met for claim in grown)
    wide = {"margin": 0.1, "replicates": 5}  # five replicates of so few answers cannot tell .03
    claims = decided(ladders, {"alike": wide, "same_size": wide})
    alike = [claim for claim in claims if claim.topic in ("similar over steps", "same at all sizes")]
    assert len(alike) == 6 and all(claim.met for claim in alike)
    assert sum(claim.conditional for claim in claims) == 6, "sizes have one base model each"


def test_gold_that_pleases_is_not_alike_and_one_labeler_alone_is_no_comparison(tmp_path: Path) -> None:
    small = {"25k": 0.4}
    liked = world(lambda dose, answers: answers["keeps"], small, questions=40, each=2)
    met = states(perez2022_rlsteps.make(runs(SWEEP, write(tmp_path / "liked", liked))))
    assert met["25k policy", "similar over steps"] is False and met["25k policy", "RL raises it"] is not True
    assert not any("size" in topic for _, topic in met), "no slope of one size"
    one_labeler = World(SWEEP, (), (GOLD,), pleased, agrees=small, replicates=1, questions=8)
    with pytest.raises(MissingRuns, match="sycophantic labeler's"):
        perez2022_rlsteps.make(runs(SWEEP, write(tmp_path / "alone", one_labeler)))


def test_the_command_draws_it(growing: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([SWEEP, "--store", str(growing), "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{SWEEP}.png").stat().st_size > 20_000
