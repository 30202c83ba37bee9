"""Shaped rewards in worlds where a shaping helps, and where none does."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_store import Cell, Truth, only, write_store

from analysis.figures import par2025
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

CELLS = tuple(Cell("ppo", {"kl_coef": 0.0}, 5, shaping=one) for one in ("none", "clip", "par"))


def made(root: Path, truth: Truth) -> list[Claim]:
    sweep = only(*CELLS, name="par2025", questions=48, truth=truth)
    write_store(root, replace(sweep, checkpoints=8))
    return par2025.make(runs("par2025", root)).claims


def test_a_shaping_that_keeps_gold_is_told_from_one_that_does_nothing(tmp_path: Path) -> None:
    claims = made(tmp_path, Truth(damage={"none": 3.0, "clip": 3.0, "par": 0.3}))
    par = [claim for claim in claims if claim.subject == "PPO, 3k, PAR"]
    assert {claim.topic: claim.met for claim in par} == {
        "above no shaping at the end": True,
        "above no shaping at equal KL": True,
        "loses less than no shaping": True,
    }
    assert not any(claim.met for claim in claims if claim.subject == "PPO, 3k, clipped at 1 SD")


def test_shapings_that_do_nothing_are_not_said_to_help(tmp_path: Path) -> None:
    claims = made(tmp_path, Truth(damage={"ppo": 2.0}))
    assert len(claims) == 6 and not any(claim.met or claim.conditional for claim in claims)


def test_before_the_peak_without_shaping_equal_kl_decides_nothing(tmp_path: Path) -> None:
    """Gold rises to the end, so that no range reaches past its peak."""
    claims = made(tmp_path, Truth(damage={"ppo": 0.0}, slip=-1.0))
    assert {claim.met for claim in claims if claim.topic == "above no shaping at equal KL"} == {None}


def test_without_an_unshaped_run_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("ppo", shaping="par"), name="mine", questions=8))
    with pytest.raises(MissingRuns, match="without shaping"):
        par2025.make(runs("mine", tmp_path))
