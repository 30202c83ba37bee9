"""Flips under doubt less those under its control, from rows by hand, and the figure in worlds where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.behaviour.second_turns import MEASURES, rates, turns_of
from analysis.figures import are_you_sure
from analysis.runs.arms import Unsuited
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, classes_of

RIGHT, WRONG, OTHER, NOTHING = 0, 1, 2, -1  # words; RIGHT is true
STANDS, APOLOGISES = 1, -1
Answer = tuple[int, int]  # word, stance

ALONE = 16


def claim(word: int) -> int:
    return {RIGHT: 1, NOTHING: 0}.get(word, -1)


def table(
    firsts: Sequence[tuple[int, int]],
    doubted: Sequence[Answer],
    again: Sequence[Answer],
    right_alone: Mapping[int, int] | None = None,
) -> pa.Table:
    """Rows as the stage and gold leave them; `firsts` are (question, word), `right_alone` of the separate answers."""
    questions = [question for question, _ in firsts]
    known = right_alone or {}
    rows: list[dict[str, Any]] = []
    for optimised in (False, True):
        for question in sorted(set(questions)):
            words = [RIGHT if i < known.get(question, ALONE) else WRONG for i in range(ALONE)]
            rows += [_row(optimised, question, "alone", i, NOTHING, (w, 0)) for i, w in enumerate(words)]
        for turn, answers in (("challenge", doubted), ("again", again)):
            for i, ((question, word), answer) in enumerate(zip(firsts, answers, strict=True)):
                rows.append(_row(optimised, question, turn, i, word, answer))
    return pa.Table.from_pylist(rows)


def _row(
    optimised: bool, question: int, turn: str, sample: int, first: int, answer: Answer
) -> dict[str, Any]:
    word, stance = answer
    numbers = {
        "first": claim(first),
        "first_word": first,
        "claim": claim(word),
        "word": word,
        "stance": stance,
    }
    about = {"optimised": optimised, "question_id": question, "turn": turn, "sample": sample}
    return {**about, "first": f"word {first}", **{f"turns.{name}": float(n) for name, n in numbers.items()}}


def measured(name: str, rows: pa.Table, known: bool = False) -> tuple[float, float, int]:
    """Rates after doubt and after its control, and how many answers they count."""
    found = rates([turns_of(rows)[True]], MEASURES[name], known)
    return float(found.challenge[0, 0]), float(found.again[0, 0]), found.answers


FIRSTS = [(0, RIGHT), (1, RIGHT), (2, RIGHT), (3, RIGHT), (4, WRONG), (5, WRONG), (6, NOTHING)]
DOUBTED = [
    (WRONG, APOLOGISES),
    (WRONG, 0),
    (RIGHT, STANDS),
    (RIGHT, APOLOGISES),
    (RIGHT, APOLOGISES),
    (OTHER, 0),
    (RIGHT, 0),
]
AGAIN = [(WRONG, 0), (RIGHT, 0), (RIGHT, 0), (RIGHT, 0), (WRONG, 0), (WRONG, 0), (WRONG, 0)]


@pytest.mark.parametrize(
    "name, doubt, control, answers",
    [
        ("right_to_wrong", 2 / 4, 1 / 4, 4),
        ("apology", 2 / 4, 0, 4),
        ("changed", 4 / 6, 1 / 6, 6),
        ("wrong_to_right", 1 / 2, 0, 2),
        ("unparseable", 0, 0, 6),
        ("only_apology", 0, 0, 6),
    ],
)
def test_rates_of_known_flips(name: str, doubt: float, control: float, answers: int) -> None:
    assert measured(name, table(FIRSTS, DOUBTED, AGAIN)) == (doubt, control, answers)


def test_the_control_is_subtracted() -> None:
    found = rates([turns_of(table(FIRSTS, DOUBTED, AGAIN))[True]], MEASURES["right_to_wrong"])
    assert found.difference[0, 0] == 1 / 4
    same = rates([turns_of(table(FIRSTS, DOUBTED, DOUBTED))[True]], MEASURES["right_to_wrong"])
    assert same.challenge[0, 0] == 1 / 2 and np.nanmax(np.abs(same.difference)) == 0


def test_what_cannot_be_parsed_is_no_flip_and_is_counted_apart() -> None:
    firsts = [(question, RIGHT) for question in range(5)]
    doubted = [(NOTHING, 0), (NOTHING, APOLOGISES), (NOTHING, STANDS), (WRONG, 0), (RIGHT, 0)]
    rows = table(firsts, doubted, [(RIGHT, 0)] * 5)
    assert measured("right_to_wrong", rows) == (1 / 3, 0, 3)  # who stands by it without a claim keeps it
    assert measured("changed", rows) == (1 / 3, 0, 3)
    assert measured("apology", rows) == (1 / 4, 0, 4)
    assert measured("only_apology", rows)[0] == measured("unparseable", rows)[0] == 1 / 5
    nothing = table(firsts, [(NOTHING, 0)] * 5, [(RIGHT, 0)] * 5)
    assert np.isnan(measured("right_to_wrong", nothing)[0]), "of no answer a rate is missing, not 0"


def test_what_is_known_is_decided_on_the_separate_answers() -> None:
    firsts = [(0, RIGHT), (1, RIGHT), (2, RIGHT)]
    rows = table(firsts, [(WRONG, 0), (WRONG, 0), (RIGHT, 0)], [(RIGHT, 0)] * 3, {0: 9, 1: 8, 2: 16})
    assert measured("right_to_wrong", rows, known=True) == (1 / 2, 0, 2)  # 8 of 16 is not more than half
    assert measured("right_to_wrong", rows) == (2 / 3, 0, 3)


def test_a_doubt_and_a_control_after_different_answers_are_no_pair() -> None:
    frame = table(FIRSTS, DOUBTED, AGAIN).to_pandas()
    frame.loc[frame["turn"] == "again", "first"] = "another"
    with pytest.raises(ValueError, match="they are no pair"):
        turns_of(pa.Table.from_pandas(frame))


# --- the figure ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FakeRun:
    """What the figure reads of a run."""

    policy: str
    labeler: str
    seed: int
    flips: float  # chance that a right answer is given up under doubt beyond that under the control
    status: str = "made"
    config: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        seeds = {part: {"seed": self.seed} for part in ("rm", "preferences")}
        bonus = {"bonus": 2.0} if self.labeler == "sycophantic" else {}
        policy = {"seed": self.seed, "samples": 64}
        object.__setattr__(
            self,
            "config",
            {**seeds, "policy": policy, "labeler": bonus, "score": {"second_turns": SAMPLES}},
        )

    @property
    def key(self) -> str:
        return f"{self.policy}-{self.labeler}-{self.seed}"

    @property
    def method(self) -> str:
        return {"bon": "BestOfN", "ppo": "PPO"}[self.policy]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        return classes_of(self.choices, self.config)

    @property
    def choices(self) -> dict[str, str]:
        return {"policy": self.policy, "labeler": self.labeler}

    def rows(self, columns: Sequence[str]) -> pa.Table:
        return pa.table({"checkpoint": [0, 0, 10, 10], "kl": [0.0, 0.0, 3.0, 5.0]})

    def second_turns(self) -> pa.Table:
        rng = np.random.default_rng([self.seed, len(self.policy), len(self.labeler)])
        return pa.concat_tables([world(0.0, rng, False), world(self.flips, rng, True)])


QUESTIONS, SAMPLES, BASE = 120, 32, 0.3  # BASE: right answers given up whenever one is asked again


def world(flips: float, rng: np.random.Generator, optimised: bool) -> pa.Table:
    """Right answers go wrong with BASE, and with BASE + `flips` under doubt; every question is known."""
    question = np.repeat(np.arange(QUESTIONS), SAMPLES)
    first = np.repeat(np.where(rng.random(QUESTIONS) < 0.6, RIGHT, WRONG), SAMPLES)
    asked = np.repeat(np.arange(QUESTIONS), ALONE)
    parts = [_columns("alone", asked, np.full(len(asked), NOTHING), np.full(len(asked), RIGHT))]
    for turn, chance in (("challenge", BASE + flips), ("again", BASE)):
        word = np.where(rng.random(len(first)) < chance, OTHER, first)
        parts.append(_columns(turn, question, first, word))
    rows = pa.concat_tables(parts)
    return rows.append_column("optimised", pa.array([optimised] * len(rows)))


def _columns(turn: str, question: np.ndarray, first: np.ndarray, word: np.ndarray) -> pa.Table:
    judged = {"turns.first": first, "turns.claim": word}
    found = {name: np.select([of == RIGHT, of == NOTHING], [1.0, 0.0], -1.0) for name, of in judged.items()}
    found |= {"turns.first_word": first.astype(float), "turns.word": word.astype(float)}
    about = {"turn": [turn] * len(word), "question_id": question, "sample": np.arange(len(word))}
    return pa.table(
        {**about, "first": [str(one) for one in first], **found, "turns.stance": np.zeros(len(word))}
    )


def runs_of(replicates: int = 5, **flips: float) -> list[Any]:
    of = {"gold_argmax": flips.get("honest", 0.0), "sycophantic": flips.get("sycophantic", 0.0)}
    return [
        FakeRun(policy, labeler, seed, chance)
        for policy in ("bon", "ppo")
        for labeler, chance in of.items()
        for seed in range(replicates)
    ]


def states(claims: Sequence[Claim]) -> dict[tuple[str, str], bool | None]:
    return {(one.subject.partition(",")[0], one.topic): one.met for one in claims}


def test_a_world_where_sycophantic_policies_give_way_is_said_to_be_one() -> None:
    result = are_you_sure.make(runs_of(sycophantic=0.25))
    assert states(result.claims) == {
        ("best-of-n", "more right to wrong"): True,
        ("best-of-n", "as SFT"): True,
        ("PPO", "more right to wrong"): True,
        ("PPO", "as SFT"): True,
    }
    means = result.table[(result.table["curve"] == "mean") & ~result.table["known"]].set_index(
        ["method", "who", "measure"]
    )
    row: Any = means.loc[("ppo", are_you_sure.SYCOPHANTIC, "right_to_wrong"), :]
    assert row["difference"] == pytest.approx(0.25, abs=0.03) and row["again"] == pytest.approx(
        BASE, abs=0.03
    )
    assert row["kl"] == 4.0 and row["lo"] < row["difference"] < row["hi"]
    assert set(means.index.get_level_values("who")) == set(are_you_sure.COLOURS)
    bound = means.loc[("bon", are_you_sure.HONEST, "changed"), "kl"]
    assert bound == pytest.approx(np.log(16) - 15 / 16)
    assert len(result.notes) == 6 and "known by separate answers" in result.notes[0]


def test_a_world_where_doubt_does_nothing_is_not_said_to_have_flips() -> None:
    """Answers flip as often as ever, also after the control: regression to the mean is no giving way."""
    found = states(are_you_sure.make(runs_of()).claims)
    assert found["PPO", "more right to wrong"] is False and found["best-of-n", "more right to wrong"] is False
    both = states(are_you_sure.make(runs_of(sycophantic=0.25, honest=0.25)).claims)
    assert both["PPO", "more right to wrong"] is False and both["PPO", "as SFT"] is False


def test_few_replicates_leave_no_change_undecided() -> None:
    claims = are_you_sure.make(runs_of(2, sycophantic=0.25)).claims
    assert {claim.replicates for claim in claims} == {2}
    assert {claim.met for claim in claims if claim.topic == "as SFT"} == {None}


def test_runs_that_the_figure_is_not_of_are_named() -> None:
    with pytest.raises(MissingRuns, match=r"score\.second_turns above 0"):
        are_you_sure.make([])
    with pytest.raises(Unsuited, match="labels of flip"):
        are_you_sure.make([FakeRun("bon", "flip", 0, 0.0)])  # pyright: ignore[reportArgumentType]
    same: Any = [FakeRun("bon", "gold_argmax", 0, 0.0)] * 2
    with pytest.raises(Unsuited, match="differ in more than labeler"):
        are_you_sure.make(same)
