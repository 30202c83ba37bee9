from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import Sweep, Truth, write_store

from analysis.commands.figures import main
from analysis.figures import gao2022_fig8
from analysis.figures.gao2022_fig8 import distance, pairs
from analysis.runs.arms import study
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.store.records import MissingRuns, runs


def sweep(truth: Truth, **changes: object) -> Sweep:
    plain = {"name": "gao2022_fig1", "rms": ("3k",), "replicates": 5, "ppo_replicates": 5, "few_pairs": False}
    return Sweep(**{**plain, "questions": 96, "truth": truth, **changes})  # type: ignore[arg-type]


def claims(root: Path, truth: Truth, **changes: object) -> dict[tuple[str, str], Claim]:
    write_store(root, sweep(truth, **changes))
    made = gao2022_fig8.make(runs("gao2022_fig1", root))
    return {(claim.subject, claim.topic): claim for claim in made.claims}


TOGETHER, CLOSER = "best-of-n and PPO, 3k", "closer on the proxy axis"


def test_a_policy_that_wastes_kl_lies_closer_on_the_proxy_axis(tmp_path: Path) -> None:
    found = claims(tmp_path, Truth(waste=12))
    closer = found[TOGETHER, CLOSER]
    assert closer.met is True and closer.replicates == 5 and not closer.conditional
    assert found[TOGETHER, "larger gap at the start"].met is not True
    assert found["PPO, 3k", "hump"].met is True and found["best-of-n, 3k", "hump"].met is not True


def test_a_policy_that_wastes_none_does_not(tmp_path: Path) -> None:
    found = claims(tmp_path, Truth(slip=0.6))  # gold differs, at equal KL and at equal proxy alike
    assert found[TOGETHER, CLOSER].met is not True
    assert found[TOGETHER, "larger gap at the start"].met is True


def test_gold_that_does_not_turn_has_no_hump(tmp_path: Path) -> None:
    assert claims(tmp_path, Truth(damage={"ppo": 0.0}))["PPO, 3k", "hump"].met is False


def test_it_has_to_hold_under_both_kls_of_best_of_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound that calls n = 8 what PPO calls its KL, nothing is further apart over KL."""
    write_store(tmp_path, sweep(Truth(waste=12)))
    (pair,) = pairs(study(runs("gao2022_fig1", tmp_path)))
    claims = ClaimTable("gao2022_fig8")
    gao2022_fig8.claim_closer(claims, pair)
    drawn = pair.other.drawn.mean()
    own = pair.best_of_n.drawn.mean().values["proxy"][0]
    like = np.interp(own, drawn.values["proxy"][0], drawn.kl[0])
    bound = lambda arm, axis: like if axis == "bound" and arm is pair.best_of_n else None  # noqa: E731
    monkeypatch.setattr(gao2022_fig8, "bound_of", bound)
    assert distance(pair, "bound")[0] < distance(pair, "tie-aware")[0] / 2
    gao2022_fig8.claim_closer(claims, pair)
    assert claims[0].met is True and claims[1].met is not True


def test_the_drift_control_is_no_reward_model(tmp_path: Path) -> None:
    found = claims(tmp_path, Truth(), replicates=1, ppo_replicates=1)
    assert {subject for subject, _ in found} == {TOGETHER, "best-of-n, 3k", "PPO, 3k"}
    assert all(claim.conditional for claim in found.values())


def test_the_figure_of_the_quickstart_s_runs(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(questions=40, answers=32))
    out = tmp_path / "out"
    assert main(["gao2022_fig8", "--sweep", "quickstart", "--store", str(tmp_path), "--out", str(out)]) == 0
    fits = pd.read_csv(out / "gao2022_fig8.fits.csv")
    assert fits.groupby("label").size().to_dict() == {"3k": 4, "25k": 4, "3k, 250 pairs": 4}


def test_one_method_alone_is_no_such_figure(tmp_path: Path) -> None:
    write_store(tmp_path, sweep(Truth(), ppo_replicates=0, control=False, answers=16, questions=8))
    with pytest.raises(MissingRuns, match="best-of-n and of another"):
        gao2022_fig8.make(runs("gao2022_fig1", tmp_path))
