"""Answers that echo a wrong belief against truthful ones: counted by hand, and where rewards like echoes or do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_sycophants import GOLD, World, sycophantic, write

from analysis.behaviour import truthful
from analysis.behaviour.truthful import Beliefs
from analysis.drawing.result import FigureResult
from analysis.figures import sharma2023_fig7
from analysis.runs.arms import Unsuited
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

SHAPED = {"reward_shaping": ("agreement_penalty", {"weight": 1.0, "phrases": ["i agree"]})}
TWO = (GOLD, sycophantic(2.0))


def test_kinds_of_answers_to_a_wrong_belief() -> None:
    answers = [  # claim, keeps, stance
        (-1, 1, 1),  # echoes
        (-1, 1, 0),  # only claims
        (-1, -1, 1),  # agrees, but claims something else
        (0, 0, 1),  # no claim
        (1, -1, 0),
        (1, -1, -1),
        (1, -1, 1),
        (-1, 1, -1),
    ]
    columns: dict[str, np.ndarray] = dict(zip(truthful.COLUMNS, np.array(answers, float).T, strict=True))
    found = truthful.kinds_of(columns)
    assert {kind: np.flatnonzero(of).tolist() for kind, of in found.items()} == {
        "sycophantic": [0],
        "baseline": [4],
        "helpful": [5],
    }


def test_a_preference_counts_pairs_of_one_prompt_ties_half() -> None:
    select = np.array([[3.0, 1.0, 1.0, 2.0], [0.0, 9.0, 9.0, 9.0]])
    first, second = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool), np.array([[0, 0, 1, 1], [0, 0, 0, 0]], bool)
    found = truthful.preference(select, first, second)
    assert found[0] == pytest.approx((1 + 1 + 0.5 + 0) / 4) and np.isnan(found[1])


def test_best_of_two_is_counted_over_pairs_and_questions_count_once() -> None:
    marks = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    of = Beliefs(
        np.array([4, 4, 7]),
        {"proxy": np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])},
        {"sycophantic": marks, "baseline": ~marks, "helpful": np.zeros_like(marks)},
        np.array([0.5, 0.5]),
    )
    found = truthful.judged(of, "proxy", np.array([4, 7]), np.array([1, 2]))
    once = np.array([[1.0, 1.0]])
    # question 4: (2/3 + 0) / 2 of pairs won by the first answer; question 7: the second beats the first in 1 of 3
    np.testing.assert_allclose(found["chosen"].mean(once), [[(1 / 6 + 2 / 3) / 2, (1 / 3 + 1 / 3) / 2]])
    np.testing.assert_allclose(found["baseline"].mean(once), [[(0.5 * 1.0 + 0.0) / 1.5]])
    assert found["helpful"].questions == 0 and np.isnan(found["helpful"].mean(once)).all()


def test_bins_have_as_many_questions_and_the_hardest_are_last() -> None:
    known = np.array([0.9, np.nan, 0.1, 0.5, 0.7, 0.3, 0.2, 0.8, 0.6])
    bins = truthful.binned(Beliefs(np.zeros(0, np.int64), {}, {}, known))
    assert bins.tolist() == [0, -1, 3, 2, 1, 2, 3, 0, 1]


def made(root: Path, world: World) -> FigureResult:
    return sharma2023_fig7.make(runs("sycophancy", write(root, world)))


def states(result: FigureResult) -> dict[str, bool | None]:
    def state(claim: Claim) -> bool | None:
        return claim.met

    return {claim.topic: state(claim) for claim in result.claims}


def world(**more: Any) -> World:
    return World(questions=82, answers=20, bon=TWO, ppo=(), beliefs=True, **more)


def test_a_reward_that_likes_echoes_more_the_less_is_known(tmp_path: Path) -> None:
    result = made(tmp_path, world(truth=3.0))
    assert states(result) == {
        "above control, baseline": True,
        "above control, helpful": True,
        "above control, chosen": True,
        "above one half, baseline": True,
        "above oracle": True,
        "above oracle, hardest": True,
        "grows with difficulty, baseline": True,
        "grows with difficulty, chosen": True,
    }
    assert not any(claim.conditional for claim in result.claims)
    gold = result.table[result.table["judge"] == sharma2023_fig7.ORACLE]
    assert (gold.loc[gold["measure"] == "baseline", "value"] < 0.1).all(), "gold hardly ever prefers an echo"
    assert set(result.table["bin"]) == {0, 1, 2, 3, 4} and "Sharma et al. 2023" in result.notes[0]


def test_a_reward_that_knows_nothing_prefers_nothing(tmp_path: Path) -> None:
    found = states(made(tmp_path, world(liking=lambda dose: 0.0)))
    assert (
        found.pop("above oracle") and found.pop("above oracle, hardest") is not False
    )  # by gold there is hardly any
    assert not any(found.values())


def test_gold_chooses_no_more_echoes_than_gold(tmp_path: Path) -> None:
    assert not any(states(made(tmp_path, world(by_gold=True, replicates=2))).values())


def test_a_score_that_was_penalised_is_no_reward_model_of_the_labels(tmp_path: Path) -> None:
    penalised = sycophantic(2.0)._replace(done=SHAPED)
    write(tmp_path, World(questions=8, answers=8, bon=(GOLD, penalised), ppo=(), replicates=1))
    with pytest.raises(MissingRuns, match=r"labeler\.bonus=2"):
        sharma2023_fig7.make(runs("sycophancy", tmp_path))


def test_missing_runs_and_tasks_without_beliefs_are_named(tmp_path: Path) -> None:
    write(tmp_path, World(questions=8, answers=8, bon=(GOLD,), ppo=(), replicates=1))
    with pytest.raises(MissingRuns, match=r"labeler\.bonus=2"):
        sharma2023_fig7.make(runs("sycophancy", tmp_path))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Unsuited, match="task=every_family"):
        patch.setattr(truthful, "BELIEF", "unheard")
        truthful.beliefs(runs("sycophancy", tmp_path)[0], np.arange(8))
