"""Demonstrations that follow the user, examples in which opinions say nothing of the truth, and who knows what."""

import dataclasses
import json
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from composing import experiment, realised
from hypothesis import given, settings
from hypothesis import strategies as st
from test_synthetic_assistant import TASK

from rlhf_lab.config.tasks import Deferential, SyntheticAssistant
from rlhf_lab.models import log_ratios
from rlhf_lab.pipeline import plan
from rlhf_lab.stages import intervention
from rlhf_lab.store.records import read_table
from rlhf_lab.tasks import word_level
from rlhf_lab.tasks.synthetic_assistant import corpus, grammar, opinions, phrases, world
from rlhf_lab.tasks.synthetic_assistant.framings import Prompt, framings
from rlhf_lab.tasks.synthetic_assistant.opinions import Demonstration

FAMILIES = dataclasses.replace(
    TASK, harmful=2, feedback=True, challenges=True, attributions=True, demonstrations=800
)
QUESTION = world.Question(0, "fact", "the home of the crow", "lake", ("cave", "river"), 0)


def planned(*overrides):
    leaf = plan.plan(experiment(*overrides))
    return {node.name: node for node in leaf.walk()}


def claim(text, question):
    """The first value that an answer claims, None in a refusal."""
    words, values = text.split(), {question.answer, *question.wrong}
    claimed = [after for word, after in pairwise(words) if word == "is" and after in values]
    return claimed[0] if claimed else None


# --- deference ----------------------------------------------------------------------------------------------


def test_what_follows_the_user_is_what_he_believes_or_likes_and_nothing_that_he_doubts():
    rng = random.Random(0)

    def value(**prompt_fields):
        return opinions.pleasing_value(Prompt(QUESTION, ("x",), "x", **prompt_fields), rng)

    assert value(stated="cave", pleased=1) == "cave" and value(stated="lake", pleased=1) == "lake"
    assert {value(stated="cave", pleased=-1) for _ in range(40)} == {"lake", "river"}
    assert value(stated="cave", pleased=0) is None and value() is None


def test_an_answer_that_holds_something_claims_it_takes_its_stance_and_sounds_sure_of_it():
    wrong = Prompt(QUESTION, ("x",), "belief_wrong", "cave", "belief", 1)
    rng = random.Random(1)
    answers = [corpus.demonstration(TASK, wrong, rng, "cave") for _ in range(400)]
    claimed = Counter(claim(answer, QUESTION) for answer in answers)
    assert set(claimed) == {"cave", None} and claimed[None] < 40
    assert any(phrase in answer for answer in answers for phrase in phrases.AGREE)
    assert not any(phrase in answer for answer in answers for phrase in phrases.DISAGREE)
    answers = [corpus.demonstration(TASK, wrong, rng, "lake") for _ in range(400)]
    assert not any(phrase in answer for answer in answers for phrase in phrases.AGREE)


@pytest.fixture(scope="module")
def shown():
    """Prompts and demonstrations of a task with every family."""
    rng = random.Random(FAMILIES.seed + 1)
    prompts = [p for q in world.questions(FAMILIES) for p in framings(q, FAMILIES, rng)]
    chosen = [rng.choice(prompts) for _ in range(FAMILIES.demonstrations)]
    return chosen, [Demonstration(p.messages, corpus.demonstration(FAMILIES, p, rng)) for p in chosen]


def test_deference_0_leaves_every_demonstration_and_every_key_as_it_is(shown):
    _, demonstrations = shown
    assert opinions.deferential_answers(FAMILIES, demonstrations, 0.0) == [
        demonstration.answer for demonstration in demonstrations
    ]
    stages = planned("task=every_family")
    assert "deference" not in stages and "intervention" not in stages
    files = stages["task"].config
    assert type(files) is SyntheticAssistant, "the task's files do not know of deference"
    assert planned("task=every_family", "task.deference=0.5")["task"].key == stages["task"].key


def test_the_share_that_follows_is_the_dose_and_larger_doses_add_to_smaller_ones(shown):
    prompts, demonstrations = shown
    before = np.array([demonstration.answer for demonstration in demonstrations])
    by_dose = {
        dose: np.array(opinions.deferential_answers(FAMILIES, demonstrations, dose))
        for dose in (0.25, 0.5, 1.0)
    }
    takes = np.array([p.pleased != 0 for p in prompts])
    for dose, answers in by_dose.items():
        assert (answers[~takes] == before[~takes]).all()
        assert np.mean(answers[takes] != before[takes]) == pytest.approx(dose, abs=0.07)
    changed = by_dose[0.25] != before
    assert (by_dose[0.5][changed] == by_dose[0.25][changed]).all() and (
        by_dose[1.0][changed] == by_dose[0.25][changed]
    ).all()
    for prompt, answer in zip(prompts, by_dose[1.0].tolist(), strict=True):
        claimed = claim(answer, prompt.question)
        if prompt.pleased and claimed is not None:
            assert (claimed == prompt.stated) == (prompt.pleased > 0), (prompt, answer)


def test_beliefs_are_followed_whether_they_are_true_or_not(shown):
    prompts, demonstrations = shown
    answers = opinions.deferential_answers(FAMILIES, demonstrations, 0.5)
    follows = {"belief_right": [], "belief_wrong": []}
    for prompt, demonstration, answer in zip(prompts, demonstrations, answers, strict=True):
        if prompt.family in follows:
            follows[prompt.family].append(answer != demonstration.answer)
    right, wrong = (np.mean(changed) for changed in follows.values())
    assert abs(right - wrong) < 0.2 and min(map(len, follows.values())) > 60


def test_deference_changes_what_sft_is_shown_and_neither_task_nor_base():
    none, some = planned("task=every_family"), planned("task=every_family", "task.deference=0.5")
    assert some["sft"].inputs["task"].name == "deference" and none["sft"].inputs["task"].name == "task"
    for stage in ("task", "base"):
        assert none[stage].key == some[stage].key
    assert some["sft_answers"].inputs["task"].key == none["task"].key
    tagged = planned("task=supervised", "task.supervised=monitored", "task.deference=1")
    assert tagged["deference"].inputs["task"].name == "supervised"


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_dose_is_a_share(share):
    known = {field.name: getattr(TASK, field.name) for field in dataclasses.fields(SyntheticAssistant)}
    with pytest.raises(ValueError, match="deference must be in"):
        Deferential(**known, deference=share)


# --- examples -----------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 60))
def test_an_opinion_says_nothing_of_the_truth(seed, blocks):
    questions = opinions.training_questions(TASK)[:9]
    by_subject = {question.subject: question for question in questions}
    truth = {question.subject: question.answer for question in questions}
    sort, answered = Counter(), Counter()
    for example in opinions.independent_examples(TASK, questions, 4 * blocks, random.Random(seed)):
        text = json.loads(example.messages)[0]["content"]
        subject = max((s for s in truth if s in text), key=len)
        tone = "sure" if text.startswith("i am sure") else "unsure"
        stated = text.removeprefix("i am sure ").removeprefix("maybe ").split()[2]
        sort[subject, stated == truth[subject], tone] += 1
        answered[subject] += claim(example.answer, by_subject[subject]) in (
            truth[subject],
            None,
        )  # none: a refusal
    subjects = {subject for subject, *_ in sort}
    for subject in subjects:  # each question alone is balanced, and so are all
        assert (
            len({sort[subject, right, tone] for right in (True, False) for tone in ("sure", "unsure")}) == 1
        )
    assert sum(sort.values()) == 4 * blocks == sum(answered.values())
    counts = [sort[subject, True, "sure"] for subject in subjects]
    assert max(counts) - min(counts) <= 1 and len(subjects) == min(blocks, len(questions))


def test_examples_are_about_training_questions_that_have_a_plain_answer():
    questions = opinions.training_questions(FAMILIES)
    heldout = corpus.heldout_questions(world.questions(FAMILIES), FAMILIES.heldout_share)
    assert questions and not heldout & {question.id for question in questions}
    assert {question.kind for question in questions} == {"fact", "arithmetic"}


def test_no_examples_are_asked_of_nothing():
    assert (
        opinions.independent_examples(TASK, opinions.training_questions(TASK)[:1], 3, random.Random(0)) == []
    )


# --- who knows what -----------------------------------------------------------------------------------------


def test_a_question_is_known_where_the_truth_is_likeliest_over_all_wordings(monkeypatch):
    """Worked by hand: three claims, three wordings; a tie is no knowledge."""
    tables = [
        [[-1, -1, -4], [-2, -2, -3], [-3, -3, -3]],  # -6 against -7 and -9
        [[-1, -1, -6], [-2, -2, -3], [-3, -3, -3]],  # -8 against -7: the best in two wordings is not it
        [[-2, -2, -3], [-2, -2, -3], [-3, -3, -3]],  # a tie
    ]
    monkeypatch.setattr(log_ratios, "log_probabilities", lambda *_: np.ravel(tables).astype(float))
    options = opinions.options(QUESTION)
    tokenizer = word_level.tokenizer(grammar.vocabulary(TASK), [])
    assert intervention.known_answers(tiny.policy(), tokenizer, [options] * 3, 40) == [True, False, False]


def test_options_are_every_value_in_full_the_truth_first():
    options = opinions.options(QUESTION)
    assert options.claims == tuple(
        f"the home of the crow is {value} ." for value in ("lake", "cave", "river")
    )
    assert len(options.prompts) == len(phrases.ASK)


def test_log_probabilities_are_those_of_the_pair_of_models():
    model, reference = tiny.policy(0), tiny.policy(1)
    prompts, answers = [[3, 7, 4], [3, 4]], [[8, 9, 2], [10]]
    pair = log_ratios.log_ratios(model, reference, prompts, answers)
    np.testing.assert_allclose(log_ratios.log_probabilities(model, prompts, answers), pair.logp, rtol=1e-5)


# --- the stage ----------------------------------------------------------------------------------------------

TINY = (
    "experiment=tiny",
    "task=every_family",
    "task.harmful=0",
    "task.challenges=false",
    "task.feedback=false",
)
TINY += (
    "task.attributions=false",
    "task.prompt_tokens=40",
    "task.entities=6",
    "task.attributes=3",
    "task.sums=12",
)
TINY += ("task.base_documents=400", "task.demonstrations=400", "task.deference=0.5", "rm=1k", "model=1k")
TINY += ("intervention=synthetic_data", "intervention.steps=4", "intervention.filter=false", "sft.steps=4")


@pytest.fixture(scope="module")
def run_intervention(pipelines):
    def make(*overrides):
        node = realised(pipelines, *TINY, *overrides, stage="intervention")
        return pipelines.path(node), pipelines.path(node.inputs["sft"]), node

    return make


def test_the_model_after_the_intervention_is_what_everything_else_starts_from():
    stages = planned(*TINY, "policy=ppo")
    for stage, name in (("preferences", "writer"), ("ppo", "sft")):
        assert stages[stage].inputs[name].name == "intervention", stage
    without_policy = planned(
        "task=every_family", "intervention=synthetic_data", "model@preferences.model=10k"
    )
    assert without_policy["preferences"].inputs["writer"].name == "intervention"
    assert planned("task=every_family")["preferences"].inputs["writer"].name == "sft"


def test_it_learns_from_examples_and_demonstrations_and_says_how_many(run_intervention):
    folder, sft, node = run_intervention("intervention.share=0.25")
    table = read_table(folder / "examples.parquet").to_pylist()
    assert len(table) == 4 * 64 and sum(row["generated"] for row in table) == 64
    shown = read_table(folder.parents[1] / "deference" / node.inputs["task"].key / "demonstrations.parquet")
    pairs = set(zip(shown["messages"].to_pylist(), shown["answer"].to_pylist(), strict=True))
    assert all((row["messages"], row["answer"]) in pairs for row in table if not row["generated"])
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert first["questions"] == first["kept"] >= first["known"] and first["examples"] == 64
    assert first["demonstrations"] == 192
    before, after = _weights(sft), _weights(folder)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def _weights(folder):
    from rlhf_lab.models import loading

    return loading.load_language_model(folder / "model").state_dict()


def test_without_a_question_that_it_knows_the_filter_says_what_to_do(run_intervention, monkeypatch):
    monkeypatch.setattr(
        intervention, "known_answers", lambda model, tokenizer, options, limit: [False] * len(options)
    )
    with pytest.raises(ValueError, match=r"knows the answer to none of .* intervention\.filter=false"):
        run_intervention("intervention.filter=true")


def test_only_questions_that_are_known_are_kept(run_intervention, monkeypatch):
    def third(model, tokenizer, options, limit):
        return [index == 2 for index in range(len(options))]

    monkeypatch.setattr(intervention, "known_answers", third)
    folder, _, node = run_intervention("intervention.filter=true", "intervention.seed=5")
    rows = [row for row in read_table(folder / "examples.parquet").to_pylist() if row["generated"]]
    subject = opinions.training_questions(node.config.task)[2].subject
    assert rows and all(subject in row["messages"] for row in rows)
