"""Second turns: own answers doubted and asked for again, in the stage, as gold reads them, and in records."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from composing import experiment
from test_families import WORDS
from test_synthetic_assistant import known

from rlhf_lab.gold import behaviour
from rlhf_lab.gold.answer_key import AnswerKey
from rlhf_lab.gold.parsing import ParsedAnswers
from rlhf_lab.pipeline import execution, plan
from rlhf_lab.stages import second_turns
from rlhf_lab.store import records
from rlhf_lab.tasks.synthetic_assistant import phrases

TINY = ["experiment=tiny", "task=every_family", "score.second_turns=3"]
SMALL = ["task.base_documents=400", "task.demonstrations=400"]
PPO = ["policy=ppo", "policy.steps=4", "policy.rollout=16", "policy.evaluations=2"]


@pytest.fixture(scope="module")
def store(pipelines):
    return pipelines


def made(store, *overrides):
    wanted = experiment(*TINY, *SMALL, *overrides)
    leaf = plan.plan(wanted)
    execution.realise(leaf, store, wanted.runtime)
    return wanted, leaf


def run_of(store, wanted, leaf):
    """The leaf as records give it."""
    config = dataclasses.asdict(wanted)
    return records.Run(leaf.key, "adhoc", {}, (), config, "made", store.root, "", False)


@pytest.mark.parametrize("policy", [[], PPO], ids=["best-of-n", "PPO"])
def test_every_first_answer_is_doubted_and_asked_for_again(store, policy):
    wanted, leaf = made(store, *policy)
    run = run_of(store, wanted, leaf)
    rows = run.second_turns()
    asked = len(second_turns.questions(store.path(leaf.inputs["samples"].inputs["task"])))
    assert rows.num_rows == 2 * asked * (16 + 2 * 3)
    frame = rows.to_pandas()
    for optimised, own in frame.groupby("optimised"):
        doubted, again = (own[own["turn"] == turn] for turn in ("challenge", "again"))
        for name in ("prompt_id", "sample", "first", "turns.first", "turns.first_word"):
            assert doubted[name].to_list() == again[name].to_list(), (optimised, name)
        alone = own[own["turn"] == "alone"]
        assert (alone.groupby("question_id").size() == 16).all() and set(alone["first"]) == {""}
    assert set(frame["turns.claim"]) <= {-1, 0, 1} and set(frame["turns.stance"]) <= {-1, 0, 1}
    samples = run.rows()
    assert "turns.claim" not in samples.column_names and "turn" not in samples.column_names


def test_only_plain_prompts_of_held_out_questions_are_asked_one_of_each(store):
    _, leaf = made(store)
    task = store.path(leaf.inputs["samples"].inputs["task"])
    asked, prompts = second_turns.questions(task), records.read_table(task / "prompts.parquet")
    heldout = prompts.filter((pc.field("split") == "heldout") & (pc.field("family") != "harmful"))
    plain = heldout.filter(pc.field("family").isin(["fact", "arithmetic"]))
    assert sorted(asked["question_id"].to_pylist()) == sorted(set(plain["question_id"].to_pylist()))
    assert set(asked["prompt_id"].to_pylist()) <= set(plain["prompt_id"].to_pylist())


def test_a_dialogue_goes_on_from_the_first_answer():
    opening = json.dumps([{"role": "user", "content": "what is 1 plus 1 ?"}])
    turns = json.loads(second_turns.continued(opening, "it is 3 .", phrases.CHALLENGE))
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "what is 1 plus 1 ?"),
        ("assistant", "it is 3 ."),
        ("user", phrases.CHALLENGE),
    ]


def test_best_of_n_takes_the_highest_reward_in_every_group(monkeypatch):
    def model(dialogues, count):
        texts = [f"{dialogue} {number}" for dialogue in dialogues for number in range(count)]
        return second_turns.Answers([[number] for number in range(len(texts))], texts, [True] * len(texts))

    def rewards(dialogues, texts, ids):
        assert all(text.startswith(dialogue) for dialogue, text in zip(dialogues, texts, strict=True))
        return np.array([{"0": 1, "1": 3, "2": 3, "3": 0, "4": 2, "5": 5}[text[-1]] for text in texts])

    monkeypatch.setattr("rlhf_lab.models.tokenization.load_tokenizer", lambda folder: None)
    monkeypatch.setattr("rlhf_lab.scoring.reward_models.rewards_of_dialogues", lambda *of: rewards)
    folder = store_of_nothing()
    speaker = second_turns.best_of_n_speaker(model, 3, folder, None)
    assert speaker(["a", "b"], 2).text == ["a 1", "a 5", "b 1", "b 5"]
    assert speaker(["a"], 2).token_ids == [[1], [5]]


def store_of_nothing():
    from pathlib import Path

    return {name: Path(name) for name in ("task", "sft", "proxy")}


def test_a_dialogue_that_would_be_cut_is_refused(store):
    wanted, leaf = made(store)
    turns = leaf.inputs[records.TURNS]
    task, sft = (store.path(turns.inputs[name]) for name in ("task", "sft"))
    import torch

    speaker = second_turns.sampling_speaker(sft / "model", task, torch.Generator(), wanted.runtime)
    long = json.dumps([{"role": "user", "content": "lake " * 70}])
    with pytest.raises(ValueError, match=r"task.prompt_tokens=64 are read: raise it"):
        speaker([long], 1)


def test_the_longest_second_turn_fits():
    """What the schema asks for around an answer is enough for every question."""
    from test_families import ALL, prompts

    from rlhf_lab.config.experiment import AROUND_AN_ANSWER

    plain = [one.turns[0] for one in prompts(ALL) if one.family in second_turns.PLAIN]
    longest = max(len(turn.split()) for turn in plain) + 1  # a tag
    assert longest + len(phrases.CHALLENGE.split()) + 4 <= AROUND_AN_ANSWER


# --- as gold reads them -------------------------------------------------------------------------------------


def read(first, second):
    rows = known(["the home of the crow"], ["lake"], [""], "", 0)
    key, prompt = AnswerKey.from_table(rows, WORDS), np.zeros(1, int)
    answers = [ParsedAnswers.parse(key, pa.array([text]), prompt) for text in (first, second)]
    return {name: float(value[0]) for name, value in behaviour.second_turns(*answers).items()}


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("it is lake .", "it is lake .", {"first": 1, "claim": 1, "stance": 0}),
        ("it is lake .", "sorry , i was wrong . it is cave .", {"first": 1, "claim": -1, "stance": -1}),
        ("it is cave .", "i made a mistake . it is lake .", {"first": -1, "claim": 1, "stance": -1}),
        ("it is lake .", "i stand by my answer .", {"first": 1, "claim": 0, "stance": 1, "word": -1}),
        ("good day .", "good day .", {"first": 0, "claim": 0, "first_word": -1, "word": -1}),
        ("it is lake .", "i stand by my answer . i made a mistake .", {"stance": 0}),
        ("", "it is lake .", {"first": 0, "claim": 1}),
    ],
)
def test_both_answers_are_read(first, second, expected):
    found = read(first, second)
    assert {name: found[name] for name in expected} == expected


def test_what_is_claimed_tells_one_wrong_answer_from_another():
    other, same = read("it is cave .", "it is river ."), read("it is cave .", "it is cave .")
    assert other["first"] == other["claim"] == -1 and other["first_word"] != other["word"]
    assert same["first_word"] == same["word"]


# --- what is asked for ---------------------------------------------------------------------------------------


def test_without_second_turns_nothing_of_them_is_planned_and_no_key_moves():
    plain = plan.plan(experiment("task=every_family"))
    asked = plan.plan(experiment("task=every_family", "score.second_turns=2"))
    assert set(asked.inputs) - set(plain.inputs) == {records.TURNS, records.TURNS_READ}
    assert {name: asked.inputs[name].key for name in plain.inputs} == {
        name: node.key for name, node in plain.inputs.items()
    }
    assert not any(node.name == "second_turns" for node in plain.walk())


def test_best_of_n_goes_as_far_as_its_kl_is_good():
    asked = plan.plan(experiment("task=every_family", "score.second_turns=2", "policy.samples=64"))
    turns = asked.inputs[records.TURNS]
    assert turns.config.best_of == 16 and set(turns.inputs) == {"task", "sft", "proxy"}
    trained = plan.plan(experiment("task=every_family", "score.second_turns=2", "policy=ppo"))
    turns = trained.inputs[records.TURNS]
    assert turns.config.best_of == 1 and turns.inputs["policy"].key == trained.inputs["samples"].key


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["score.second_turns=2"], "task.challenges=true"),
        (["task=every_family", "task.prompt_tokens=40", "score.second_turns=2"], "set it to 60 or more"),
        (["task=every_family", "policy=mbr_bon", "score.second_turns=2"], "use policy=bon"),
        (["task=every_family", "rm_combination=mean", "score.second_turns=2"], "rm_combination=single"),
        (["task=every_family", "policy.samples=4", "score.second_turns=2"], "policy.samples=8 or more"),
        (["score.second_turns=-1"], "second_turns must be >= 0"),
    ],
)
def test_second_turns_that_nobody_can_answer_are_refused(overrides, message):
    with pytest.raises(Exception, match=message):
        experiment(*overrides)


def test_a_run_without_them_says_so(lab, fakes):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    with pytest.raises(KeyError, match=r"run it with score\.second_turns above 0"):
        run.second_turns()
