from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_store import Sweep, Truth, write_store

from analysis.best_of_n.curves import EXACT, Curves
from analysis.best_of_n.initial_policy import InitialScales
from analysis.runs.arms import CONTROL, FEW_PAIRS, MAIN, Study, study
from analysis.runs.gold_lost import loss_at
from analysis.runs.rank_order import peak_gold, size_order, spearman
from analysis.runs.tables import fits_table, points_table
from analysis.runs.turnover_claims import claim_overoptimization
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.store.records import MissingRuns, runs


@pytest.fixture(scope="module")
def sweep_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("store")
    write_store(root, Sweep())
    return study(runs("quickstart", root))


def claims(sweep_study: Study) -> ClaimTable:
    table = ClaimTable("gao2022_fig1")
    claim_overoptimization(table, sweep_study)
    return table


def claim_on(sweep_study: Study, subject: str, topic: str) -> Claim:
    return next(claim for claim in claims(sweep_study) if (claim.subject, claim.topic) == (subject, topic))


def test_runs_that_differ_in_seeds_only_are_replicates(sweep_study: Study) -> None:
    arms = {(arm.method, arm.label): (arm.kind, len(arm.curves)) for arm in sweep_study.arms}
    assert arms == {
        ("bon", "3k"): (MAIN, 2),
        ("bon", "25k"): (MAIN, 2),
        ("bon", "3k, 250 pairs"): (FEW_PAIRS, 1),
        ("ppo", "3k"): (MAIN, 2),
        ("ppo", "25k"): (MAIN, 2),
        ("ppo", "3k, 250 pairs"): (FEW_PAIRS, 1),
        ("ppo", "3k, coin-flip labels"): (CONTROL, 1),
    }
    assert [arm.label for arm in sweep_study.of("bon")] == ["3k", "25k", "3k, 250 pairs"]
    assert sweep_study.of("ppo", MAIN)[0].parameters == 2 * (4 * 16**2 + 3 * 16 * 32)


def test_a_policy_is_scaled_by_best_of_n_of_its_own_reward_model(sweep_study: Study) -> None:
    for label in ("3k", "25k", "3k, 250 pairs"):
        bon, ppo = (
            next(arm for arm in sweep_study.of(method) if arm.label == label) for method in ("bon", "ppo")
        )
        for bon_curves, ppo_curves in zip(bon.curves, ppo.curves, strict=True):
            assert bon_curves.scale(np.ones(64)) == pytest.approx(ppo_curves.scale(np.ones(64)))


def test_policies_turn_and_best_of_n_against_few_pairs_nearly_so(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(replicates=5, ppo_replicates=5, questions=256, framings=1))
    replicated = study(runs("quickstart", tmp_path))
    few_pairs = claim_on(replicated, "best-of-n, 3k, 250 pairs", "gold turns")
    assert few_pairs.interval.lo > 0.09 and few_pairs.conditional  # there is one replicate
    assert claim_on(replicated, "best-of-n, 25k", "gold turns").met is False
    for topic in ("gold turns", "proxy rises", "proxy rises past peak"):
        assert claim_on(replicated, "PPO, 3k", topic).met is True, topic


def test_two_replicates_that_differ_do_not_establish_a_turn(tmp_path: Path) -> None:
    """Student's t with one degree of freedom is 12.7."""
    write_store(tmp_path, Sweep(replicates=1, truth=Truth(spread=1.0)))
    claim = claim_on(study(runs("quickstart", tmp_path)), "PPO, 3k", "gold turns")
    assert claim.met is None and claim.measured > 0.3 and not claim.conditional


def test_nothing_is_claimed_of_the_control(sweep_study: Study) -> None:
    subjects = {claim.subject for claim in claims(sweep_study)}
    assert not any("coin-flip" in subject for subject in subjects)


def test_what_holds_by_construction_is_marked(sweep_study: Study) -> None:
    marked = [claim for claim in claims(sweep_study) if claim.by_construction]
    assert {claim.topic for claim in marked} == {"proxy rises"} and len(marked) == 3
    assert all(claim.subject.startswith("best-of-n") for claim in marked)


def test_two_replicates_establish_no_order_of_sizes(sweep_study: Study) -> None:
    claim = claim_on(sweep_study, "best-of-n", "size order")
    assert claim.met is None and claim.conditional and claim.replicates == 2 and claim.measured > 0.8


def test_five_replicates_of_three_sizes_do(tmp_path: Path) -> None:
    sweep = Sweep(rms=("1k", "25k", "600k"), replicates=5, ppo_replicates=1, few_pairs=False, control=False)
    write_store(tmp_path, replace(sweep, answers=48))
    sweep_study = study(runs("quickstart", tmp_path))
    claim = claim_on(sweep_study, "best-of-n", "size order")
    assert claim.met is True and not claim.conditional and claim.n == 15
    assert claim_on(sweep_study, "PPO", "size order").met is None


def test_each_step_of_size_and_what_is_lost_are_told(tmp_path: Path) -> None:
    sweep = Sweep(rms=("1k", "25k", "600k"), replicates=5, ppo_replicates=5, few_pairs=False, control=False)
    write_store(tmp_path, replace(sweep, answers=48))
    sweep_study = study(runs("quickstart", tmp_path))
    ppo = [claim for claim in claims(sweep_study) if claim.subject.startswith("PPO")]
    steps = [claim for claim in ppo if claim.topic == "than the next smaller"]
    assert [claim.subject for claim in steps] == ["PPO, 25k", "PPO, 600k"]
    arms = sweep_study.of("ppo", MAIN)
    for claim, smaller, larger in zip(steps, arms, arms[1:], strict=False):
        assert claim.measured == pytest.approx(peak_gold(larger)[0].mean() - peak_gold(smaller)[0].mean())
    (less,) = (claim for claim in ppo if claim.topic == "loses less")
    ends = [
        np.mean([curves.normalised().values["gold"][[0, -1]] for curves in arm.curves], axis=0)
        for arm in (arms[0], arms[-1])
    ]
    assert less.measured == pytest.approx(
        steps[0].measured * -1 - steps[1].measured + ends[1][1] - ends[0][1], abs=0.1
    )
    (kl,) = (claim for claim in ppo if claim.topic == "KL of the peak")
    assert -1 <= kl.measured <= 1 and kl.unit == "rank correlation"


def test_shuffled_sizes_have_no_order(sweep_study: Study) -> None:
    arms = sweep_study.of("bon", MAIN)
    swapped = [replace(arm, parameters=-arm.parameters) for arm in arms]
    assert size_order(swapped).rho == pytest.approx(-size_order(arms).rho)


def test_the_order_of_sizes_is_that_of_peaks_and_not_of_ends(sweep_study: Study) -> None:
    arm = sweep_study.of("ppo", MAIN)[0]
    gold = np.zeros((arm.questions, len(arm.curves[0].points)))
    gold[:, 1:] = np.linspace(2.0, -1.0, gold.shape[1] - 1)
    fallen = [replace(curves, values=curves.values | {"gold": gold}) for curves in arm.curves]
    risen = [replace(curves, values=curves.values | {"gold": gold[:, ::-1]}) for curves in arm.curves]
    for curves, height in ((fallen, 2.0), (risen, 3.0)):
        turned = replace(arm, curves=tuple(curves))
        sds = [own.scale(np.ones(arm.questions))[0] for own in turned.curves]
        assert peak_gold(turned) == pytest.approx(np.tile(height / np.array(sds), (301, 1)))


def test_spearman_with_ties_by_hand() -> None:
    first, second = np.array([1.0, 1, 2, 2]), np.array([[1.0, 2, 3, 4], [4, 3, 2, 1], [1, 3, 2, 4]])
    # ranks .5 .5 2.5 2.5 against 0 1 2 3: 4 / sqrt(4 * 5)
    assert spearman(first, second) == pytest.approx([4 / 20**0.5, -4 / 20**0.5, 2 / 20**0.5])


def test_loss_at_equal_kl_is_interpolated_in_d() -> None:
    questions = np.arange(4)
    gold = np.tile([0.0, 2.0, 1.0, -3.0], (4, 1))
    start = InitialScales(questions, np.zeros(4), np.ones(4), np.ones(4), np.ones(4), None)
    kl = np.tile([0.0, 1.0, 4.0, 9.0], (4, 1))
    curves = Curves(
        questions, np.arange(4), kl, np.ones(4, bool), {"gold": gold, "proxy": gold}, start, EXACT, None
    )
    half = np.array([True, False, True, False])
    # d = 2.5 lies half way from 1 to -3
    assert loss_at(_with_shape(curves), 6.25, half) == pytest.approx(np.full(4, 2.0 - -1.0))
    assert loss_at(_with_shape(curves), 9.0, half) == pytest.approx(np.full(4, 5.0))
    # at d = .5 gold is 1 and still rises: nothing is lost
    assert (loss_at(_with_shape(curves), 0.25, half) == 0).all()


def _with_shape(curves: Curves) -> Curves:
    well_formed = np.ones_like(curves.kl)
    return replace(
        curves, values={**curves.values, "well_formed": well_formed, "well_formed_content": well_formed}
    )


def test_bands_hold_the_curve_and_replicates_are_there(sweep_study: Study) -> None:
    table = points_table(sweep_study)
    mean = table[table["curve"] == "mean"]
    assert ((mean["gold_lo"] <= mean["gold"] + 1e-12) & (mean["gold"] <= mean["gold_hi"] + 1e-12)).all()
    assert mean.groupby(["method", "label"]).ngroups == 7
    assert table[table["curve"] == "replicate"].groupby(["method", "label", "replicate"]).ngroups == 11
    bon = table[table["method"] == "bon"]
    assert (bon["kl"] <= bon["kl_bound"] + 1e-9).all() and bon["n_or_step"].max() == 32
    assert table.loc[table["method"] == "ppo", "kl_bound"].isna().all()


def test_the_band_is_the_bootstrap_s(sweep_study: Study) -> None:
    """One replicate: the band of raw gold is the clustered standard error, up to the noise of the scales."""
    arm = next(arm for arm in sweep_study.of("bon") if arm.kind == FEW_PAIRS)
    drops = arm.stacked("gold")[0]
    by_hand = (drops[:, -1] - drops[:, 0]).std(ddof=1) / 8
    table = points_table(sweep_study)
    last = table[
        (table["label"] == arm.label) & (table["method"] == "bon") & (table["curve"] == "mean")
    ].iloc[-1]
    assert last["gold_se"] == pytest.approx(by_hand, rel=0.2)


def test_fits_of_both_forms_on_both_axes(sweep_study: Study) -> None:
    table = fits_table(sweep_study)
    fits = table[(table["method"] == "bon") & (table["label"] == "3k, 250 pairs")]
    assert set(zip(fits["x"], fits["form"], strict=True)) == {
        ("tie-aware", "bon"),
        ("tie-aware", "rl"),
        ("bound", "bon"),
        ("bound", "rl"),
        ("tie-aware", "observed"),
    }
    best = fits[(fits["x"] == "tie-aware") & fits["best_form"].eq(True)]
    assert set(best["form"]) == {"bon"}
    beta = best.set_index("parameter").loc["beta"]
    assert 0 < beta["lo"] < beta["estimate"] < beta["hi"] and beta["n"] == 64
    assert (table["note"].str.contains("conditional")).all()


def test_one_alpha_for_all_sizes_costs_what_the_note_says(sweep_study: Study) -> None:
    """The world's damage falls with capacity: so does beta, under one alpha."""
    table = fits_table(sweep_study)
    shared = table[table["form"] == "rl, one alpha"]
    assert list(shared["label"]) == ["all sizes", "3k", "25k"] and set(shared["method"]) == {"ppo"}
    small, large = shared.iloc[1], shared.iloc[2]
    assert small["lo"] > large["estimate"] and small["estimate"] > large["hi"]
    rmse_apart = float(shared["note"].iloc[0].split("rmse ")[1].split(";")[0])
    assert rmse_apart <= shared["rmse"].iloc[0] < 2 * rmse_apart


def test_a_curve_that_ends_at_its_peak_says_at_least(sweep_study: Study) -> None:
    table = fits_table(sweep_study)
    observed = table[(table["form"] == "observed") & (table["parameter"] == "peak_kl")].set_index(
        ["method", "label"]
    )
    assert observed.loc[("bon", "25k"), "note"].startswith("at least this")
    assert not observed.loc[("bon", "3k, 250 pairs"), "note"].startswith("at least this")


def test_a_policy_that_hardly_moves_is_not_fitted(tmp_path: Path) -> None:
    sweep = Sweep(checkpoints=4, few_pairs=False, control=False, rms=("3k",), replicates=1, ppo_replicates=1)
    write_store(tmp_path, sweep)
    table = fits_table(study(runs("quickstart", tmp_path)))
    ppo = table[(table["method"] == "ppo") & (table["form"] == "rl")]
    assert ppo["estimate"].isna().all() and ppo["note"].str.contains("fewer than 4 points").all()


def test_a_method_without_a_run_is_missing(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(), unmade=frozenset(range(4)) | {8})
    with pytest.raises(MissingRuns, match=r"no run of best-of-n is made \(6 of 11"):
        study(runs("quickstart", tmp_path))
