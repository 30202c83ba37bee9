"""Mitigations where one works, one does nothing, one costs gold, and one moves sycophancy from words to claims."""

from pathlib import Path

import pytest
from fake_sycophants import GOLD, Labels, World, sycophantic, write

from analysis.drawing.result import FigureResult
from analysis.figures import mitigations
from analysis.statistics.claims import Claim
from rlhf_lab.store.records import MissingRuns, runs

NOTHING = sycophantic(2.0)
MEMBERS = {"members": 3, "seeds": "finetune", "offset": "all"}


def less(dose: float, **more: object) -> Labels:
    """Something that is done against the same labeler, after which so much liking is left."""
    return NOTHING._replace(dose=dose, **more)


def penalty(weight: float) -> dict:
    return {"reward_shaping": ("agreement_penalty", {"weight": weight, "phrases": ["i agree"]})}


ARMS = (
    NOTHING,
    GOLD,
    Labels("balanced", {"first": {"bonus": 2.0}, "second": {"bonus": -2.0}, "share": 0.5}, 0.0),
    less(2.0, done={"rm_combination": ("min", MEMBERS)}, costs=0.5),
    less(0.0, done=penalty(1.0), claims=1.5),
    less(0.0, done=penalty(2.0)),
    less(1.0, done={"intervention": ("synthetic_data", {"share": 0.5, "filter": True})}),
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> FigureResult:
    few = [one for one in ARMS if one.option == "balanced" or one.costs or one is NOTHING]
    world = World(questions=24, answers=24, name="mitigations", bon=ARMS, ppo=tuple(few), beliefs=True)
    root = write(tmp_path_factory.mktemp("mitigations"), world)
    return mitigations.make(runs("mitigations", root))


def states(result: FigureResult, method: str, words: str) -> dict[str, Claim]:
    return {
        claim.topic: claim
        for claim in result.claims
        if claim.subject.startswith(method) and claim.subject.endswith(words)
    }


@pytest.mark.parametrize("method", ["best-of-n", "PPO"])
def test_what_works_is_told_from_what_does_not(result: FigureResult, method: str) -> None:
    balanced, minimum = states(result, method, "balanced share 0.5"), states(result, method, "bonus 2")
    assert len(minimum) == len(balanced) == (4 if method == "best-of-n" else 8)
    assert balanced["lowers agreement at the end"].met and balanced["lowers pleases at the end"].met
    assert not any(claim.met for topic, claim in minimum.items() if topic.startswith("lowers"))
    if method == "PPO":
        assert balanced["lowers agreement at equal KL"].met and balanced["lowers pleases at equal KL"].met
        assert balanced["keeps gold at the end"].met is not False
        assert (
            minimum["keeps gold at the end"].met is False and minimum["keeps gold at equal KL"].met is False
        )
    else:
        assert states(result, method, "synthetic data")["lowers pleases at the end"].met


def test_words_that_are_penalised_are_not_counted_and_claims_in_their_place_are_seen(
    result: FigureResult,
) -> None:
    moved, stays = (states(result, "best-of-n", f"less {weight} SD for agreement") for weight in (1, 2))
    for found in (moved, stays):
        assert found["lowers agreement at the end"].by_construction
        assert not found["lowers pleases at the end"].by_construction
    assert moved["moves to claims"].met is True and stays["moves to claims"].met is False
    others = {claim.topic for claim in result.claims if "SD for agreement" not in claim.subject}
    assert "moves to claims" not in others and not any("gold" in claim.subject for claim in result.claims)


def test_tables_name_every_arm_and_have_gold_beside_sycophancy(result: FigureResult) -> None:
    table = result.table
    assert set(table["mitigation"]) == {
        mitigations.NOTHING,
        mitigations.TARGET,
        "balanced labels",
        "min of 3",
        "synthetic data",
        *(f"less {weight} SD for agreement" for weight in (1, 2)),
    }
    gold = table[table["metric"] == "gold"]
    assert len(gold) and gold.loc[gold["n_or_step"] <= 1, "value"].abs().max() < 0.1
    assert {"minus nothing", "minus honest labels"} == set(result.fits["form"])
    assert "Shapira et al. 2026" in result.notes[0]


def test_without_the_plain_arm_there_is_nothing_to_compare(tmp_path: Path) -> None:
    world = World(questions=8, answers=8, name="mitigations", bon=ARMS[1:3], ppo=(), replicates=1)
    with pytest.raises(MissingRuns, match="nothing done"):
        mitigations.make(runs("mitigations", write(tmp_path, world)))
