"""The joint claim that a fall of gold is Goodhart's law, and the controls that it needs."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_store import Cell, Sweep, write_store

from analysis.drawing import plot, theme
from analysis.figures import gao2022_fig1
from analysis.runs import goodhart
from analysis.runs.arms import MAIN, study
from analysis.runs.goodhart import Curves, claim_parts
from analysis.runs.kinds import CONTROLS, NOISE, WEIGHT_NOISE
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import halves
from analysis.worlds.goodhart_worlds import GOODHART, NULLS, parts, states
from rlhf_lab.store.records import runs

CONTROL_CELLS = tuple(
    Cell(policy, replicates=2, rm="3k", reward=reward, uses_gold="gold" in reward)
    for policy, reward in (
        ("ppo", "gold"),
        ("ppo", "visible_gold"),
        ("ppo", "noise"),
        ("weight_noise", "learned"),
        ("temperature", "learned"),
    )
)


def state(found: goodhart.Goodhart) -> bool | None:
    claims = ClaimTable("gao2022_fig1")
    claim_parts(claims, "PPO", found, 130)
    return claims[0].met


def straight(*gold: float, d: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)) -> Curves:
    """Two replicates, four questions, all alike."""
    return Curves(np.tile(d, (2, 1)), np.tile(gold, (2, 4, 1)))


HALF = np.array([True, True, False, False])


def test_every_part_by_hand() -> None:
    """The arm rises by .5 to d = 1 and falls to .1 at d = 3; the oracle rises on; noise falls by .2 for each d."""
    arm, oracle = straight(0.0, 0.5, 0.3, 0.1), straight(0.0, 0.4, 0.8, 1.2)
    noise, weights = straight(0.0, -0.2, -0.4, -0.6), straight(0.0, -0.1, -0.2, -0.3)
    found = goodhart.goodhart(arm, {NOISE: noise, WEIGHT_NOISE: weights}, oracle, HALF)
    # the KLs that are compared are 9 / 8, 18 / 8, ...: at the first, d = 1.06
    d = np.sqrt(9 / 8)
    gold = 0.5 - 0.2 * (d - 1)
    assert found.shared_kl == pytest.approx(9 / 8)
    assert found.above[NOISE].value == pytest.approx(gold + 0.2 * d)
    assert found.above[WEIGHT_NOISE].value == pytest.approx(gold + 0.1 * d)
    assert found.fall.value == pytest.approx(0.4, abs=0.01) and found.peak_kl == pytest.approx(1.0, abs=0.1)
    assert found.oracle_drop.value == 0.0 and found.oracle_ahead.value == pytest.approx(1.1)
    assert found.kl == pytest.approx(9.0) and found.far_enough and state(found) is True


def test_an_oracle_that_falls_as_well_is_no_goodhart() -> None:
    arm, oracle = straight(0.0, 0.5, 0.3, 0.1), straight(0.0, 0.8, 0.6, 0.4)
    noise = straight(0.0, -0.2, -0.4, -0.6)
    assert state(goodhart.goodhart(arm, {NOISE: noise, WEIGHT_NOISE: noise}, oracle, HALF)) is False


def test_an_arm_that_is_not_above_one_of_the_noises_is_no_goodhart() -> None:
    arm, oracle = straight(0.0, 0.5, 0.3, 0.1), straight(0.0, 0.4, 0.8, 1.2)
    below, above = straight(0.0, -0.2, -0.4, -0.6), straight(0.0, 0.5, 0.3, 0.2)
    assert state(goodhart.goodhart(arm, {NOISE: below, WEIGHT_NOISE: above}, oracle, HALF)) is False


def test_an_oracle_that_is_not_followed_far_enough_leaves_it_undecided() -> None:
    """The peak is at KL 1, so KL 2 is needed, and the oracle ends at 1.44."""
    arm, oracle = straight(0.0, 0.5, 0.3, 0.1), straight(0.0, 0.4, 0.5, 0.6, d=(0.0, 1.0, 1.1, 1.2))
    noise = straight(0.0, -0.2, -0.4, -0.6)
    found = goodhart.goodhart(arm, {NOISE: noise, WEIGHT_NOISE: noise}, oracle, HALF)
    assert not found.far_enough and state(found) is None


@pytest.mark.parametrize("replicates", [2, 5])
@pytest.mark.parametrize("null", NULLS)
def test_noise_seldom_meets_the_claim(null: str, replicates: int) -> None:
    found = states(NULLS[null], replicates, 40, np.random.default_rng(1))
    assert found.count(True) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("replicates", [2, 5])
@pytest.mark.parametrize("null", NULLS)
def test_noise_meets_the_claim_at_most_once_in_a_hundred_times(null: str, replicates: int) -> None:
    """Of 1,000 draws of each null, at most 5 met it."""
    found = states(NULLS[null], replicates, 500, np.random.default_rng(2))
    assert found.count(True) <= 5


def test_a_world_of_goodhart_meets_it() -> None:
    found = states(GOODHART, 5, 30, np.random.default_rng(3))
    assert found.count(True) >= 27


def test_halves_are_of_questions() -> None:
    found = parts(GOODHART, 2, np.random.default_rng(0))
    assert found.fall.replicates == 2 and len(halves(130, np.random.default_rng(0))) == 130


# --- from records -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_store(root, Sweep(questions=32, framings=1, cells=CONTROL_CELLS))
    return root


def test_controls_are_kinds_of_arms_that_nothing_counts(store: Path) -> None:
    data = study(runs("quickstart", store))
    kinds = {arm.kind for arm in data.arms}
    assert set(CONTROLS) < kinds and data.methods == ("bon", "ppo")
    assert [arm.rm for arm in data.of("ppo", MAIN)] == ["3k", "25k"]
    result = gao2022_fig1.make(runs("quickstart", store))
    assert not any("control" in claim.subject or "reward gold" in claim.subject for claim in result.claims)
    turning = next(
        claim for claim in result.claims if claim.subject == "PPO" and claim.topic == "runs that turn"
    )
    assert turning.n == 5  # two sizes of two replicates, and one on few pairs
    assert len(result.figure.axes) == 2 and set(CONTROLS) < set(result.table["arm"])


def test_the_joint_claim_is_made_of_each_arm_and_its_parts_are_in_the_table_of_fits(store: Path) -> None:
    result = gao2022_fig1.make(runs("quickstart", store))
    claims = [claim for claim in result.claims if claim.topic == "Goodhart"]
    assert [claim.subject for claim in claims] == ["PPO, 3k", "PPO, 25k"]
    assert all(
        claim.primary and "i.i.d. noise" in claim.claim and "oracle" in claim.claim for claim in claims
    )
    assert (result.fits["form"] == "goodhart").sum() == 2 * 5
    ahead = result.table[(result.table["arm"] == MAIN) & (result.table["curve"] == "mean")]
    assert ahead.groupby("method")["oracle_ahead"].count().tolist()[1] > 10
    assert not any("Goodhart" in note for note in result.notes)


def test_without_a_control_there_is_no_claim_and_a_note_says_how_to_make_it(tmp_path: Path) -> None:
    write_store(tmp_path, Sweep(questions=16, framings=1, few_pairs=False, cells=CONTROL_CELLS[:2]))
    result = gao2022_fig1.make(runs("quickstart", tmp_path))
    assert not any(claim.topic == "Goodhart" for claim in result.claims)
    notes = [note for note in result.notes if "Goodhart" in note]
    assert len(notes) == 2
    assert "i.i.d. noise is missing; make it: rlhf-lab -m policy=ppo reward=noise policy.seed=0" in notes[0]
    assert (
        "rlhf-lab -m policy=weight_noise policy.prompts=32 policy.seed=0" in notes[1] or "weights" in notes[1]
    )


def test_a_note_names_the_control_that_was_chosen_among_several(tmp_path: Path) -> None:
    """The second control on noise has the learning rate of the arm, the first another."""
    cells = [cell for cell in CONTROL_CELLS if cell.reward != "noise"]
    cells += [Cell("ppo", {"kl_coef": coefficient}, 2, rm="3k", reward="noise") for coefficient in (0.1, 0.0)]
    write_store(tmp_path, Sweep(questions=16, framings=1, few_pairs=False, rms=("3k",), cells=tuple(cells)))
    data = study(runs("quickstart", tmp_path))
    (arm,) = goodhart.trained(data)
    first, other = goodhart.controls(data, arm, NOISE)
    assert (first.settings["kl_coef"], other.settings["kl_coef"]) == (0.0, 0.1)
    (note,) = goodhart.notes(data)
    assert note == (
        f"Goodhart, {arm.title}: the control on i.i.d. noise is {first.title}, chosen among 2 by the settings in common"
    )
    assert first.title != other.title


@pytest.mark.parametrize("kind", goodhart.NEEDED)
def test_the_command_for_a_control_of_an_experiment_makes_that_control_in_its_replicates(kind, lab) -> None:
    runs_of_arm = [
        SimpleNamespace(
            overrides=[
                f"replicate=r{number}",
                "policy=ppo",
                "rm=1k",
                "policy.steps=90",
                "experiment=quickstart",
            ],
            config={"policy": {"seed": number, "prompts": 32}},
        )
        for number in (100, 101)
    ]
    words = shlex.split(goodhart.command(runs_of_arm, kind))
    assert words[0] == "rlhf-lab"
    answer = lab(*words[1:], "runtime.plan=true")
    assert answer.code == 0, answer
    stage = {NOISE: "ppo_on_noise", WEIGHT_NOISE: "weight_noise"}.get(kind, "ppo_on_gold")
    assert sum(stage in line for line in answer.out.splitlines()) == 2, answer.out


def test_a_legend_of_fifteen_wide_entries_ends() -> None:
    """Fifteen entries in three columns need five lines; six lines need three columns as well."""
    figure, _ = theme.panels(2)
    plot.legend(figure, [theme.key("an entry that is as wide as a third of the figure") for _ in range(15)])
    assert len(figure.legends) == 1
