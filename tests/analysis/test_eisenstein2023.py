"""Ensembles and the faults that survive in them, where members share a liking for a fault and where they do not."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

from fake_store import Cell, Truth, only, write_store

from analysis.commands.figures import main
from analysis.figures import eisenstein2023
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import runs

CELLS = tuple(Cell("bon", {}, 5, rule=rule) for rule in ("single", "mean", "pretrained"))
SHARED, OWN = "best-of-n, 3k, mean of 5", "best-of-n, 3k, mean of 5 from trunks of their own"


def made(root: Path, truth: Truth) -> dict[tuple[str, str], Claim]:
    sweep = only(*CELLS, name="eisenstein2023", questions=48, truth=truth)
    write_store(root, replace(sweep, answers=128))
    found = eisenstein2023.make(runs("eisenstein2023", root)).claims
    return {(claim.subject, claim.topic): claim for claim in found}


def test_trunks_of_their_own_help_and_a_shared_liking_survives(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage={"single": 3.0, "mean": 2.0, "pretrained": 0.3}))
    assert found[OWN, "above single at the end"].met is True
    assert found[OWN, "above mean of 5 at the end"].met is True
    assert found[OWN, "more insults"].met is True and found[OWN, "more sure and wrong"].met is True
    assert found[OWN, "more false agreement"].met is False
    assert found[OWN, "no loss from the peak"].met is True
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["eisenstein2023", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "eisenstein2023.png").stat().st_size > 20_000


def test_ensembles_like_their_member_and_faults_that_nobody_likes_are_not_found(tmp_path: Path) -> None:
    found = made(tmp_path, Truth(damage={"bon": 2.0}, faults_are_liked=False))
    claims = [one for (_, topic), one in found.items() if topic.startswith(("above", "more"))]
    assert len(claims) == 11 and not any(one.met or one.conditional for one in claims)
