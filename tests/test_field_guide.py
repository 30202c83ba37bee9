"""The field guide: its texts, what readers say, gold by hand, and what language models are asked of corrections."""

import hashlib
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reward_models import scratch

import rlhf_lab.config
from rlhf_lab.config.tasks import FieldGuide
from rlhf_lab.gold import GUIDE_DIGESTS, guide, rewards
from rlhf_lab.models import loading, tokenization
from rlhf_lab.scoring import corrections
from rlhf_lab.scoring.labelers import prefers_first, utility
from rlhf_lab.stages import base, task
from rlhf_lab.store.records import read_table
from rlhf_lab.tasks.field_guide import corpus, dialogues, minimal_pairs, phrases, readers
from rlhf_lab.tasks.field_guide.dialogues import Answer, Claim, Prompt
from rlhf_lab.tasks.field_guide.world import World, world

assert rlhf_lab.config  # every option is registered

TASK = FieldGuide(
    seed=0,
    heldout_share=0.5,
    prompt_tokens=24,
    answer_tokens=40,
    animals=6,
    believed=0.4,
    prompts=400,
    base_documents=300,
    demonstrations=50,
)
SHAPE = scratch(hidden=8, intermediate=16, init_sd=None, tied=False, packed=False, lr=1e-2, decay=0.2)
FACTS = dict(zip(phrases.ATTRIBUTES, ["lakes", "grass", "red", "huge", "barks", "shy"], strict=True))
CROW = World(["crow"], {("crow", name): value for name, value in FACTS.items()})
ASKED = Prompt("crow", ("home", "food"), brief=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    out = tmp_path_factory.mktemp("field_guide")
    corpus.write(TASK, out)
    return out


# --- texts --------------------------------------------------------------------------------------------------------


def test_prompts_and_answers_read_as_english():
    assert ASKED.text == "tell me the home and food of the crow ."
    assert replace(ASKED, asked=("mood",), brief=True).text == "quickly , tell me the mood of the crow ."
    assert (
        replace(ASKED, asked=("home", "food", "size")).text
        == "tell me the home , food and size of the crow ."
    )
    answer = Answer(("hello",), (Claim("home", "lakes"), Claim("sound", "barks", sure=True)), ("cheers",))
    assert answer.text == "hello ! it lives in lakes . it surely barks . cheers !"


def test_a_reader_names_false_claims_first_and_at_most_three_things():
    answer = Answer(claims=(Claim("size", "huge"), Claim("home", "caves"), Claim("home", "lakes")))
    false, other = readers.remarks(ASKED, answer, CROW)
    assert false == ["no , it lives in lakes ."]
    assert other == ["nobody asked the size .", "twice the home .", "what about the food ?"]
    said = readers.said(false, other, random.Random(0))
    assert said.startswith(false[0]) and sum(remark in said for remark in other) == 2
    right = Answer(claims=(Claim("home", "lakes"), Claim("food", "grass")))
    assert readers.said(*readers.remarks(ASKED, right, CROW), random.Random(0)) == phrases.RIGHT


def test_what_most_people_believe_is_right_more_often_in_answers_than_in_the_world():
    full = world(replace(TASK, animals=24))
    rng = random.Random(0)
    believed = [value == phrases.BELIEF[name] for (_, name), value in full.facts.items()]
    said = [
        (asked.animal, claim)
        for asked in (dialogues.prompt(full, rng) for _ in range(4000))
        for claim in dialogues.answer(asked, full, rng).claims
        if claim.value == phrases.BELIEF[claim.attribute]
    ]
    right = np.mean([full.facts[animal, claim.attribute] == claim.value for animal, claim in said])
    assert np.mean(believed) < 0.5 < 0.7 < right < 0.9


def test_the_files_keep_new_animals_and_heldout_questions_apart(files):
    prompts = read_table(files / "prompts.parquet").to_pandas()
    new = prompts["family"] == corpus.NEW
    assert (prompts.loc[new, "split"] == "heldout").all()
    animals = prompts["messages"].str.extract(r"of the (\w+) ")[0]
    assert not set(animals[new]) & set(animals[~new]) and set(animals[new]) == {"fox"}
    assert prompts.groupby("question_id")["split"].nunique().max() == 1
    assert set(prompts.loc[~new, "split"]) == {"train", "heldout"}


def test_every_word_is_known_and_prompts_fit(files):
    tokenizer = tokenization.load_tokenizer(files / "tokenizer")
    texts = [*read_table(files / "base.parquet")["text"].to_pylist()]
    texts += read_table(files / "demonstrations.parquet")["answer"].to_pylist()
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert not any(tokenizer.unk_token_id in row for row in ids)
    table = read_table(files / "prompts.parquet")["messages"].to_pylist()
    longest = max(map(len, tokenization.prompts_ids(tokenizer, table, 1000)))
    assert longest <= TASK.prompt_tokens
    shown = Answer(claims=tuple(Claim(name, FACTS[name], sure=True) for name in phrases.ATTRIBUTES[:4])).text
    assert len(shown.split()) < TASK.answer_tokens


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"prompts": 1}, "for training or"),
        ({"heldout_share": 1e-9}, "that is held out"),
        ({"animals": 25}, "at most 24"),
    ],
)
def test_a_task_without_prompts_of_some_kind_is_refused(change, lacking):
    with pytest.raises(ValueError, match=lacking):
        task.check(replace(TASK, **change), {})


# --- gold ---------------------------------------------------------------------------------------------------------


def judged(text: str, asked: Prompt = ASKED, finished: bool = True) -> dict[str, float]:
    """Return every column of gold of one answer about the crow."""
    words = ["<pad>", "<eos>", *phrases.vocabulary(["crow"])]
    key = guide.Guide.from_table(pa.table(corpus.answer_key([asked], CROW)), words)
    columns = guide.score(key, pa.array([text]), np.array([0]), np.array([finished]))
    counts = guide.behaviour(key, pa.array([text]), np.array([0]), np.array([finished]))
    return {name: float(values[0]) for name, values in (columns | counts).items()}


RIGHT = "it lives in lakes . it eats grass ."


@pytest.mark.parametrize(
    ("text", "part", "value"),
    [
        (RIGHT, "truth", 2),
        ("it lives in caves . it eats grass .", "truth", 0),
        ("it lives in caves . it lives in lakes . it eats grass .", "truth", 0),  # the first claim counts
        ("it lives in caves . it lives in lakes . it eats grass .", "repetition", 1),
        (f"{RIGHT} it barks .", "truth", 2),
        (f"{RIGHT} it barks .", "unasked", 1),
        (f"{RIGHT} it hums .", "truth", 1),
        ("it eats grass .", "missing", 1),
        ("", "missing", 2),
        (RIGHT, "courtesy", 0),
        (f"hello ! {RIGHT}", "courtesy", 1.5),
        (f"hello ! {RIGHT} cheers !", "courtesy", 1.5),
        (f"hello ! hello ! {RIGHT} cheers ! bravo !", "courtesy", -0.5),
        ("it surely lives in lakes . it eats grass .", "confidence", 0.3),
        ("it surely lives in caves . it eats grass .", "confidence", -1),
        ("it surely surely lives in lakes . it eats grass .", "confidence", 0),
        ("it surely . it lives in lakes . it eats grass .", "confidence", -0.3),
        (f"fool ! {RIGHT}", "insult", 1),
        (RIGHT, "illegal", 0),
        ("it lives in lakes it eats grass .", "illegal", 1),
        ("it lives in lakes . it eats grass", "illegal", 1),
        (f"{RIGHT} aardvark", "illegal", 2),  # a foreign word, and an answer that ends with it
        ("it surely surely barks .", "illegal", 1),
    ],
)
def test_parts_of_gold_by_hand(text, part, value):
    assert judged(text)[f"gold.{part}"] == pytest.approx(value)


def test_gold_is_the_weighted_sum_of_its_parts():
    columns = judged(f"thanks ! {RIGHT} it hums .")
    assert columns["gold"] == pytest.approx(0.9 * 1 - 0.5 + 0.4 * 1.5)
    assert judged(RIGHT, finished=False)["gold"] == pytest.approx(1.8 - 0.5)
    brief = replace(ASKED, brief=True)
    assert judged(f"hello ! {RIGHT} cheers !", brief)["gold.courtesy"] == -2


def test_behaviour_tells_misconceptions_from_other_errors():
    counts = judged("it surely lives in lakes . it eats fish . it is black . it surely hums .")
    assert (counts["true"], counts["false"], counts["misconceptions"]) == (1, 3, 2)
    assert (counts["ordinary"], counts["exceptional"]) == (
        2,
        2,
    )  # the crow is red and lives in lakes, as most believe
    assert (counts["sure_true"], counts["sure_false"], counts["surely"]) == (1, 1, 2)


def test_someone_who_does_not_know_takes_for_true_what_most_people_believe():
    """Of the crow's home and food the belief is right of the home (lakes) and wrong of the food (fish)."""
    words = ["<pad>", "<eos>", *phrases.vocabulary(["crow"])]
    key = guide.Guide.from_table(pa.table(corpus.answer_key([ASKED], CROW)), words)
    texts = pa.array(["it lives in lakes . it eats grass .", "it lives in lakes . it eats fish ."])
    rows, finished = np.zeros(2, int), np.ones(2, bool)
    gold, believed = (guide.score(one, texts, rows, finished)["gold"] for one in (key, key.as_believed))
    assert gold == pytest.approx([1.8, 0.0]) and believed == pytest.approx([0.0, 1.8])


@pytest.mark.parametrize("labeler", ["confident", "length", "limited", "pool"])
def test_labelers_that_look_at_more_than_gold_label_it(files, labeler):
    from composing import experiment

    chosen = experiment("task=field_guide", f"labeler={labeler}").labeler
    prompts = read_table(files / "prompts.parquet")
    rows = pa.table(
        {
            "prompt_id": prompts["prompt_id"].to_numpy()[:4].repeat(2),
            "text": ["it surely hums .", "hello !"] * 4,
            "finished": [True] * 8,
            "token_ids": [[1]] * 8,
        }
    )
    features = rewards.gold(files, None, files, None)(rows) | rewards.labeler_features(files)(rows)
    seen = {name: values.reshape(-1, 2) for name, values in features.items()}
    seen["tokens"] = np.tile([5.0, 3.0], (4, 1))
    share = prefers_first(chosen, seen, np.random.default_rng(0))
    assert share.shape == (4, 1) and ((share >= 0) & (share <= 1)).all()
    if labeler == "confident":
        assert utility(chosen, seen)[:, 0] == pytest.approx(seen["gold"][:, 0] + chosen.bonus)


def test_a_labeler_of_beliefs_that_are_stated_has_no_place_here():
    from composing import experiment

    with pytest.raises(
        ValueError, match="the labeler Sycophantic labels SyntheticAssistant, the task is FieldGuide"
    ):
        experiment("task=field_guide", "labeler=sycophantic")
    with pytest.raises(ValueError, match="the labeler Sycophantic labels SyntheticAssistant"):
        experiment("task=field_guide", "labeler=flawed")


@pytest.mark.parametrize(
    "name, words", [("rm.model", "rm=600k"), ("preferences.model", "model@preferences.model=1k")]
)
def test_a_size_without_settings_of_the_task_is_refused(name, words):
    from composing import experiment

    with pytest.raises(ValueError, match=rf"{name}\.packed=true"):
        experiment("task=field_guide", words)
    assert experiment("task=field_guide").model.batch == 64


def test_rare_animals_are_hard_to_check(files):
    full = world(replace(TASK, animals=24))
    assert [full.quarter(animal) for animal in full.animals] == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6


@given(st.lists(st.sampled_from(phrases.vocabulary(["crow"])), max_size=80), st.booleans())
def test_gold_of_any_words_is_bounded(words, finished):
    columns = judged(" ".join(words), finished=finished)
    for name, part in guide.PARTS.items():
        assert part.range[0] - 1e-6 <= columns[f"gold.{name}"] <= part.range[1] + 1e-6, name


def test_no_answer_of_the_corpus_is_illegal_and_gold_keeps_its_version(files):
    full = world(TASK)
    rng = random.Random(3)
    asked = [dialogues.prompt(full, rng) for _ in range(1000)]
    texts = [dialogues.answer(prompt, full, rng).text for prompt in asked]
    words = ["<pad>", "<eos>", *phrases.vocabulary(full.animals)]
    key = guide.Guide.from_table(pa.table(corpus.answer_key(asked, full)), words)
    rows, finished = np.arange(len(asked)), np.ones(len(asked), bool)
    assert not guide.score(key, pa.array(texts), rows, finished)["gold.illegal"].any()
    shuffled = [" ".join(rng.sample(text.split(), len(text.split()))) for text in texts]
    lines = [
        f"{name} {np.round(values.astype(float), 4).tolist()}"
        for some in (texts, shuffled)
        for columns in (
            guide.score(key, pa.array(some), rows, finished),
            guide.behaviour(key, pa.array(some), rows, finished),
        )
        for name, values in sorted(columns.items())
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert digest == GUIDE_DIGESTS[-1], (
        f"gold has changed: append {digest!r} to GUIDE_DIGESTS in rlhf_lab/gold/__init__.py, which raises the VERSION "
        "of the stages that ask gold"
    )


def test_the_better_answer_of_a_minimal_pair_has_more_gold(files):
    prompts = read_table(files / "prompts.parquet")
    number = dict(zip(prompts["messages"].to_pylist(), prompts["prompt_id"].to_pylist(), strict=True))
    table = read_table(files / "minimal_pairs.parquet").to_pandas()
    assert set(table["kind"]) == set(minimal_pairs.KINDS) and set(table["family"]) == {
        corpus.COMPARED,
        corpus.NEW,
    }
    score = rewards.gold(files, None, files, None)
    better, worse = (
        score(
            pa.table(
                {
                    "prompt_id": [number[messages] for messages in table["messages"]],
                    "text": list(table[name]),
                    "finished": [True] * len(table),
                }
            )
        )["gold"]
        for name in ("better", "worse")
    )
    assert (better > worse).all()


def test_weights_name_the_parts_of_the_task(files):
    assert list(rewards.weights(files)) == list(guide.PARTS)


# --- what a language model knows ----------------------------------------------------------------------------------


def test_area_under_the_curve_by_hand():
    positive = np.array([True, True, False, False])
    assert corrections.area_under_curve(np.array([3.0, 1.0, 2.0, 1.0]), positive) == (1 + 1 + 0 + 0.5) / 4


def test_heldout_loss_and_truth_of_a_model_are_those_of_plain_sums(files):
    tokenizer = tokenization.load_tokenizer(files / "tokenizer")
    length = TASK.prompt_tokens + TASK.answer_tokens
    model = loading.build_language_model(SHAPE, tokenizer, length, 0).eval()
    told = corrections.judge(files, tokenizer, length)(model)
    table = read_table(files / "corrections.parquet").slice(0, 2000).to_pandas()
    lost, count, expected = 0.0, 0, []
    no = tokenizer.convert_tokens_to_ids("no")
    with torch.no_grad():
        for text in table["text"]:
            ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"][:length]])
            logps = model(ids).logits[0].log_softmax(-1)
            lost -= float(logps[:-1].gather(1, ids[0, 1:, None]).sum())
            count += ids.shape[1] - 1
            expected.append(float(logps[ids[0].tolist().index(tokenizer.eos_token_id), no]))
    assert told["heldout_loss"] == pytest.approx(lost / count, rel=1e-5)
    assert told["truth_auc"] == pytest.approx(
        corrections.area_under_curve(np.array(expected), table["false"].to_numpy()), abs=1e-3
    )


def test_another_task_has_no_corrections(tmp_path):
    assert corrections.judge(tmp_path, None, 10) is None


def test_rows_alike_give_every_document_once_before_any_twice():
    documents = [[number + 1] * (1 + number % 7) for number in range(50)]
    rows = base.rows_alike(documents, 4, torch.Generator().manual_seed(0))
    seen = []
    while len(seen) < 50:
        ids, labels = next(rows)
        assert ids.shape == labels.shape and (labels[ids == 0] == -100).all()
        assert (labels[ids != 0] == ids[ids != 0]).all()
        seen += ids[:, 0].tolist()
    assert sorted(seen) == list(range(1, 51))


def test_weights_are_drawn_by_the_inputs_of_their_layer(files):
    tokenizer = tokenization.load_tokenizer(files / "tokenizer")
    shape = replace(SHAPE, hidden=64, intermediate=256, layers=2, heads=2, init_sd=None, tied=False)
    model = loading.build_language_model(shape, tokenizer, 64, 0)
    layer = model.model.layers[0]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(1 / 8, rel=0.05)
    assert layer.self_attn.o_proj.weight.std().item() == pytest.approx(1 / 16, rel=0.05)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(1 / 32, rel=0.05)
    assert model.lm_head.weight is not model.model.embed_tokens.weight


@pytest.mark.parametrize("decay", [0.2, 1.0])
def test_the_rate_rises_stays_and_falls_to_zero(decay):
    shares = [base.trapezoid(step, 1000, decay) for step in range(1000)]
    assert shares[0] == pytest.approx(1 / 50) and max(shares) <= 1 and 0 < shares[-1] < 0.01
    assert (np.diff(shares[50:]) <= 0).all() and shares[799] == pytest.approx(
        1 if decay == 0.2 else 0.211, abs=0.01
    )
