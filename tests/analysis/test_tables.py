"""Curves by portions of prompts are those of the whole table, and no more of it is in memory at once."""

import numpy as np
import pyarrow as pa
import pytest

from analysis.best_of_n import estimator, selection
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.estimator import grid
from analysis.best_of_n.rules import tables, whole_table
from analysis.best_of_n.selection import selection_curves

QUESTIONS, FRAMINGS, ANSWERS = 9, 3, 64


def rows(seed: int = 0) -> pa.Table:
    """Answers with ties among scores, in order."""
    rng = np.random.default_rng(seed)
    count = QUESTIONS * FRAMINGS * ANSWERS
    prompt = np.repeat(np.arange(QUESTIONS * FRAMINGS, dtype=np.int32), ANSWERS)
    content = rng.normal(size=count).round(1).astype(np.float32)
    columns = {
        "prompt_id": prompt,
        "question_id": prompt // FRAMINGS,
        "finished": rng.random(count) < 0.9,
        "gold": content,
        "proxy": (content + rng.normal(size=count)).round(1).astype(np.float32),
        "token_ids": [rng.integers(3, 9, size=3).tolist() for _ in range(count)],
    }
    return pa.table(columns)


def small(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    for module in (estimator, selection):
        monkeypatch.setattr(module, "PORTION", answers)


def alike(one: Curves, other: Curves) -> None:
    assert np.array_equal(one.questions, other.questions) and np.array_equal(one.kl_good, other.kl_good)
    assert one.kl == pytest.approx(other.kl, abs=1e-12)
    assert list(one.values) == list(other.values)
    for name, values in one.values.items():
        assert values == pytest.approx(other.values[name], abs=1e-12)
    assert one.normalised().values["proxy"] == pytest.approx(other.normalised().values["proxy"], abs=1e-12)
    assert one.needed is not None and other.needed is not None
    for column, same in zip(one.needed, other.needed, strict=True):
        assert column == pytest.approx(same, abs=1e-12)


@pytest.mark.parametrize("method", ["BestOfN", "BestOfPoisson", "MBRBestOfN"])
@pytest.mark.parametrize("portion", [1, 5 * ANSWERS, 10**9])
def test_portions_add_up_to_the_whole(method: str, portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table, points, policy = whole_table(rows()), grid(ANSWERS), {"proximity": 0.5}
    whole = table.curves(points, points <= ANSWERS // 4, table.expected(method, policy, points))
    small(monkeypatch, portion)
    wanted = rows() if method == "MBRBestOfN" else rows().drop_columns(["token_ids"])
    alike(selection_curves(wanted, method, policy), whole)
    mixed = wanted.take(np.random.default_rng(1).permutation(len(wanted)))
    if method != "MBRBestOfN":  # likeness adds up the same answers in another order
        alike(selection_curves(mixed, method, policy), whole)


def test_a_portion_holds_whole_questions_and_hardly_more_than_asked() -> None:
    found = list(tables(rows(), portion=4 * ANSWERS))
    assert sum(len(table.prompts) for table in found) == QUESTIONS * FRAMINGS and len(found) > 2
    seen = [set(table.cluster.tolist()) for table in found]
    assert sum(map(len, seen)) == QUESTIONS == len(set.union(*seen))
    assert max(table.score.size for table in found) <= (4 + FRAMINGS) * ANSWERS


def test_prompts_with_different_numbers_of_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="63 to 64 answers a prompt"):
        whole_table(rows().slice(1))
