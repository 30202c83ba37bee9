"""Gold as a whole: its table of parts, and that no change of it goes without a new VERSION."""

import hashlib
import random

import numpy as np
import pyarrow as pa
from test_families import ALL, WORDS, prompts

from rlhf_lab.gold import DIGESTS, behaviour, rubric
from rlhf_lab.gold.answer_key import AnswerKey
from rlhf_lab.gold.parsing import ParsedAnswers
from rlhf_lab.tasks.synthetic_assistant import corpus, grammar, phrases


def fixed_answers():
    """Answers of every quality, in part shuffled and with foreign words, to prompts of every family."""
    rng, asked = random.Random(7), prompts(ALL)
    shown = [rng.choice(asked) for _ in range(3000)]
    texts = []
    for prompt in shown:
        words = grammar.answer(prompt, rng.random(), 0.5, rng).split()
        if rng.random() < 0.3:
            rng.shuffle(words)
        if rng.random() < 0.2:
            words += rng.choices([*WORDS, "foreign"], k=rng.randrange(40))
        texts.append(" ".join(words))
    key = AnswerKey.from_table(pa.table(corpus.rubric(shown)), WORDS)
    finished = np.array([rng.random() < 0.8 for _ in texts])
    return ParsedAnswers.parse(key, pa.array(texts), np.arange(len(texts)), finished)


def test_gold_does_not_change_without_a_new_version():
    answers = fixed_answers()
    columns = rubric.score(answers) | {"believed": rubric.believed(answers)} | behaviour.behaviour(answers)
    lines = [f"{name} {np.round(columns[name].astype(float), 4).tolist()}" for name in sorted(columns)]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert digest == DIGESTS[-1], (
        f"gold has changed: append {digest!r} to DIGESTS in rlhf_lab/gold/__init__.py, which raises the VERSION of the "
        "stages that ask gold"
    )


def test_every_part_stays_in_its_range_and_gold_is_their_weighted_sum():
    answers = fixed_answers()
    columns = rubric.score(answers)
    for name, part in rubric.PARTS.items():
        values = columns[f"gold.{name}"]
        assert part.range[0] <= values.min() < values.max() <= part.range[1], name
        assert part.kind is not rubric.Kind.form or not part.of_claim
    for kind in rubric.Kind:
        parts = [(name, part) for name, part in rubric.PARTS.items() if part.kind is kind]
        total = sum(part.weight * columns[f"gold.{name}"].astype(float) for name, part in parts)
        assert np.allclose(columns[f"gold.{kind.value}"], total, atol=1e-6)


def test_someone_who_cannot_check_believes_what_sounds_sure():
    answers = fixed_answers()
    sure_and_wrong = answers.says(phrases.SURE) & answers.claims & ~answers.right
    sure_and_wrong &= ~answers.key.harmful[answers.prompt]
    assert sure_and_wrong.any()
    assert (rubric.believed(answers) > rubric.score(answers)["gold"])[sure_and_wrong].all()
