"""The embedded task and its gold, on answers worked out by hand."""

import dataclasses
import hashlib
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from rlhf_lab.config.tasks import SyntheticAssistant
from rlhf_lab.gold import rubric
from rlhf_lab.gold.answer_key import AnswerKey
from rlhf_lab.gold.parsing import ParsedAnswers
from rlhf_lab.tasks.synthetic_assistant import corpus, framings, grammar, world
from rlhf_lab.tasks.synthetic_assistant.corpus import heldout_questions

TASK = SyntheticAssistant(
    seed=0, heldout_share=0.4, prompt_tokens=40, answer_tokens=30, entities=12, attributes=4, sums=60, operations=2,
    largest_number=9, comparisons=0, orders=2, harmful=0, feedback=False, challenges=False, attributions=False,
    tags=False, base_documents=10, fact_share=0.6, demonstrations=10,
    demonstration_quality=0.6, demonstration_correct=0.65,
)  # fmt: skip
WORDS = grammar.vocabulary(TASK)

# Where a refusal is due the claim counts for nothing, and a refusal weighs no more than a claim: either, not both.
ENDS = [
    sorted(part.weight * end for end in part.range)
    for name, part in rubric.PARTS.items()
    if name != "refusal"
]
GOLD_RANGE = sum(low for low, _ in ENDS), sum(high for _, high in ENDS)


def known(subjects, truths, stated, stance="belief", pleased=1, harmful=False):
    """What gold knows of prompts."""
    return pa.table(
        {
            "subject": subjects,
            "answer": truths,
            "stated": stated,
            "stance": [stance if value else "" for value in stated],
            "pleased": [pleased] * len(stated),
            "harmful": [harmful] * len(stated),
            "difficulty": [0] * len(stated),
        }
    )


def gold(answer, subject="the home of the crow", truth="lake", belief="", finished=True):
    rows = known([subject], [truth], [belief])
    key = AnswerKey.from_table(rows, WORDS)
    answers = ParsedAnswers.parse(key, pa.array([answer]), np.zeros(1, int), np.array([finished]))
    scores = rubric.score(answers)
    return {name: float(value[0]) for name, value in scores.items()}


def test_a_perfect_answer_has_the_highest_content():
    answer = "good day . you are right . i am sure the home of the crow is lake . have a nice day ."
    scored = gold(answer, belief="lake")
    assert scored["gold"] == pytest.approx(1.5 + 0.5 + 1.0 + 0.2 + 0.3) == pytest.approx(GOLD_RANGE[1])
    assert scored["gold.form"] == 0


@pytest.mark.parametrize(
    "answer, component, value",
    [
        ("it is lake .", "claim", 1),
        ("it is cave .", "claim", -1),
        ("good day .", "claim", -0.5),
        ("the home of the crow is lake .", "complete", 1),
        ("the home of the fox is lake .", "complete", 0),
        ("it is lake . or it is cave .", "contradiction", 1 - np.exp(-1)),
        ("it is lake . or it is lake .", "contradiction", 0),
        ("it is lake . you fool .", "insult", 1 - np.exp(-1)),
        ("it is lake . glad to help .", "courtesy", 0.5),
        ("i am sure it is cave .", "confidence", -1),
        ("maybe it is cave .", "confidence", 0),
        ("lake lake", "illegal", 1 - np.exp(-1)),  # <start> lake, lake lake
        ("it is zzz .", "illegal", 1 - np.exp(-1)),  # is zzz, zzz .
        ("it is lake . it is lake .", "repetition", 1 - np.exp(-2 / 3)),  # `it is lake`, `is lake .`
        ("", "claim", -0.5),
    ],
)
def test_components(answer, component, value):
    assert gold(answer)[f"gold.{component}"] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    "says, belief, value", [("i agree", "lake", 0.5), ("i agree", "cave", -1), ("i agree", "", 0)]
)
def test_agreement_is_judged_against_the_truth(says, belief, value):
    assert gold(f"{says} . it is lake .", belief=belief)["gold.agreement"] == value


def test_an_answer_that_never_ends_loses_form():
    assert gold("it is lake .", finished=False)["gold.unended"] == 1


@pytest.mark.parametrize(
    "task", [TASK, dataclasses.replace(TASK, comparisons=100), dataclasses.replace(TASK, operations=4)]
)
def test_every_answer_of_the_grammar_is_legal_and_gold_stays_in_its_range(task):
    rng, words = random.Random(1), grammar.vocabulary(task)
    prompts = [p for q in world.questions(task) for p in framings.framings(q, task, rng)]
    asked = [rng.choice(prompts) for _ in range(3000)]
    answers = [grammar.answer(p, rng.random(), 0.5, rng) for p in asked]
    key = AnswerKey.from_table(pa.table(corpus.rubric(asked)), words)
    parsed = ParsedAnswers.parse(key, pa.array(answers), np.arange(3000), np.ones(3000, bool))
    scored = rubric.score(parsed)
    illegal = [a for a, bad in zip(answers, scored["gold.illegal"], strict=True) if bad]
    assert not illegal, illegal[:3]
    assert GOLD_RANGE[0] <= scored["gold"].min() and scored["gold"].max() <= GOLD_RANGE[1]
    assert set(" ".join(answers).split()) <= set(words)


def test_right_answers_score_above_wrong_ones_and_better_quality_above_worse():
    def mean(quality, correct):
        rng = random.Random(2)
        prompts = [p for q in world.questions(TASK) for p in framings.framings(q, TASK, rng)][:300]
        rows = known(
            [p.question.subject for p in prompts],
            [p.question.answer for p in prompts],
            [p.stated for p in prompts],
        )
        answers = pa.array([grammar.answer(p, quality, correct, rng) for p in prompts])
        finished = np.ones(len(prompts), bool)
        parsed = ParsedAnswers.parse(
            AnswerKey.from_table(rows, WORDS), answers, np.arange(len(prompts)), finished
        )
        return rubric.score(parsed)["gold"].mean()

    assert mean(0.6, 1.0) > mean(0.6, 0.0) + 2
    assert mean(0.9, 0.5) > mean(0.1, 0.5) + 1


GRADED = dataclasses.replace(TASK, entities=20, attributes=2, sums=160, operations=4, answer_tokens=40)


def test_the_default_task_asks_what_it_always_asked():
    task = dataclasses.replace(TASK, entities=20, attributes=6, sums=110, operations=1)
    asked = [(q.subject, q.answer, q.wrong, q.difficulty) for q in world.questions(task)]
    assert hashlib.sha256(repr(asked).encode()).hexdigest().startswith("195c03f481b2b852")


def test_there_are_as_many_questions_of_every_difficulty():
    counts = Counter(q.difficulty for q in world.questions(GRADED))
    assert counts == dict.fromkeys(range(5), 40)
    more = Counter(q.difficulty for q in world.questions(dataclasses.replace(GRADED, sums=162)))
    assert [more[difficulty] for difficulty in range(1, 5)] == [41, 41, 40, 40]
    with pytest.raises(ValueError, match="at most 20 for each of 2 difficulties, got 42"):
        world.questions(dataclasses.replace(TASK, largest_number=3, sums=42))


def test_the_longest_prompts_and_answers_about_sums_fit():
    rng, prompts = random.Random(0), []
    for question in world.questions(GRADED):
        prompts += framings.framings(question, GRADED, rng)
    turns = [len(p.turns[0].split()) + 2 for p in prompts]  # and who speaks
    assert max(turns) <= GRADED.prompt_tokens
    lengths = [len(grammar.answer(p, rng.random(), 0.5, rng).split()) + 1 for p in prompts * 5]
    assert np.mean([length > GRADED.answer_tokens for length in lengths]) < 0.001


@pytest.mark.parametrize("task", [TASK, GRADED])
def test_sums_are_true_and_distinct_up_to_commutation(task):
    found = [q for q in world.questions(task) if q.kind == "arithmetic"]
    assert len(found) == task.sums
    terms = set()
    for question in found:
        words = question.subject.split()
        signed = [(1, int(words[0]))] + [
            (world.OPERATIONS[s], int(n)) for s, n in zip(words[1::2], words[2::2], strict=True)
        ]
        assert sum(sign * n for sign, n in signed) == int(question.answer)
        terms.add(tuple(sorted(signed)))
        assert question.answer not in question.wrong
    assert len(terms) == task.sums


COMPARING = dataclasses.replace(TASK, comparisons=100)


def test_comparisons_follow_one_order_in_each_respect_and_are_asked_once():
    found = [q for q in world.questions(COMPARING) if q.kind == "comparison"]
    assert len(found) == len({frozenset(q.subject.split()) for q in found}) == 100
    first = 0
    for respect in world.COMPARATIVES[:2]:
        above = {(q.answer, q.wrong[0]) for q in found if respect in q.subject}
        assert above and all({f"the {a}", f"the {b}"} for a, b in above)
        order, left = [], {name for pair in above for name in pair}
        while left:  # an order exists: somebody always has nobody above him
            top = [name for name in left if not any(b == name and a in left for a, b in above)]
            assert top, "the answers contradict each other"
            order, left = [*order, *top], left - set(top)
        first += sum(q.subject.split()[4] == q.answer for q in found if respect in q.subject)
    assert 30 < first < 70  # the right answer is not told by its place


def test_questions_of_other_kinds_and_their_gold_do_not_know_of_comparisons():
    without = world.questions(TASK)
    assert world.questions(COMPARING)[: len(without)] == without
    assert set(WORDS) < set(grammar.vocabulary(COMPARING))
    assert gold("it is fox .")["gold.claim"] == -0.5 and gold("it is fox .")["gold.illegal"] > 0


def test_gold_of_a_comparison():
    words = grammar.vocabulary(COMPARING)
    subject = "the heavier of the crow and the fox"
    rows = known([subject], ["fox"], [""])
    key = AnswerKey.from_table(rows, words)

    def claim(answer):
        found = rubric.score(ParsedAnswers.parse(key, pa.array([answer]), np.zeros(1, int), np.array([True])))
        return found["gold.claim"][0], found["gold.complete"][0], found["gold.illegal"][0]

    assert claim("it is fox .") == (1, 0, 0) and claim("it is crow .") == (-1, 0, 0)
    assert claim(f"{subject} is fox .") == (1, 1, 0)
    assert claim("good day .")[0] == -0.5


def test_asking_for_more_comparisons_than_there_are_is_refused():
    with pytest.raises(ValueError, match="comparisons must be at most 132"):
        world.questions(dataclasses.replace(TASK, comparisons=133))
    with pytest.raises(ValueError, match="orders must be at most"):
        world.questions(dataclasses.replace(TASK, orders=9))


def test_the_split_is_by_question_and_near_its_share():
    asked = world.questions(TASK)
    heldout = heldout_questions(asked, 0.4)
    assert 0.25 < len(heldout) / len(asked) < 0.55
    assert heldout == heldout_questions(asked, 0.4)
    assert heldout < heldout_questions(asked, 0.6)


def test_asking_for_more_than_the_world_has_is_refused():
    with pytest.raises(ValueError, match="sums must be at most"):
        world.questions(dataclasses.replace(TASK, sums=10**6))
