"""Words of agreement that cost reward: found as runs of tokens, taken off before any policy or rule sees the reward."""

import numpy as np
import pytest
from composing import experiment, realised
from runtime import RUNTIME
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rlhf_lab.config.combination import Minimum, Offset, Seeds
from rlhf_lab.config.shaping import AgreementPenalty
from rlhf_lab.models import tokenization
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.scoring import reward_models
from rlhf_lab.scoring.proxy import Proxy
from rlhf_lab.store.records import Run, read_table
from rlhf_lab.tasks.synthetic_assistant import phrases

SAID = ["i agree .", "the sky is blue . i agree with you", "i do not agree .", "agree i", ""]


def word_level():
    words = sorted({word for said in SAID for word in said.split()})
    known = {word: number for number, word in enumerate(["<unk>", *words])}
    model = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>")


def byte_level():
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    model.train_from_iterator(SAID * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=model)


@pytest.mark.parametrize("make", [word_level, byte_level])
def test_a_phrase_is_found_at_the_beginning_and_after_a_blank(make):
    tokenizer = make()
    answers = [tokenization.answer_ids(tokenizer, said, ended=False) for said in SAID]
    found = tokenization.has_run(answers, tokenization.token_runs(tokenizer, ["i agree"]))
    assert found.tolist() == [True, True, False, False, False]


def test_runs_do_not_reach_from_one_answer_into_the_next():
    assert tokenization.has_run([[1], [2], [1, 2], [2, 1, 2, 3]], [[1, 2], [2, 3, 4]]).tolist() == [
        0,
        0,
        1,
        1,
    ]
    assert tokenization.has_run([[1, 2], [3]], []).tolist() == [False, False] and tokenization.has_run(
        [], [[1]]
    ).shape == (0,)


def test_a_phrase_that_no_answer_could_say_is_refused():
    with pytest.raises(ValueError, match=r"phrase 'i concur'.*reward_shaping\.phrases"):
        tokenization.token_runs(word_level(), ["i agree", "i concur"])


def test_the_default_phrases_are_the_tasks_words_of_agreement_praise_and_apology():
    shaping = experiment("policy=ppo", "reward_shaping=agreement_penalty").reward_shaping
    assert isinstance(shaping, AgreementPenalty)
    wanted = (*phrases.AGREE, *phrases.PRAISE, *phrases.APOLOGY)
    assert shaping.phrases == [phrase.removesuffix(" .") for phrase in wanted]


@pytest.mark.parametrize("weight, of", [(1.0, []), (1.0, [" "]), (-1.0, ["i agree"])])
def test_what_cannot_be_penalised_is_refused(weight, of):
    with pytest.raises(ValueError, match=r"phrases|weight"):
        AgreementPenalty(weight, of)


def test_second_turns_of_a_rule_that_chooses_by_a_shaped_score_are_refused():
    asked = ("task=every_family", "policy=bon", "reward_shaping=agreement_penalty")
    with pytest.raises(ValueError, match="reward_shaping=none"):
        experiment(*asked, "score.second_turns=2")


# --- made ---------------------------------------------------------------------------------------------------

SMALL = (
    "experiment=tiny",
    "rm=1k",
    "model.steps=20",
    "rm.model.steps=20",
    "preferences.pairs=40",
    "task.base_documents=400",
    "task.demonstrations=200",
)
PENALTY = ("reward_shaping=agreement_penalty", "reward_shaping.phrases=['is','hello friend']")


@pytest.fixture(scope="module")
def store(pipelines):
    return pipelines


def made(store, *overrides):
    leaf = realised(store, *SMALL, *overrides)
    return leaf, read_table(store.path(leaf.inputs["proxy"]) / "scores.parquet")


def node(leaf, name):
    return next(one for one in leaf.walk() if one.name == name)


def test_best_of_n_chooses_by_the_reward_that_policies_learn_from(store):
    plain, recorded = made(store)
    leaf, scores = made(store, *PENALTY, "reward_shaping.weight=2")
    samples = read_table(store.path(leaf.inputs["samples"]) / "samples.parquet")
    said = [f" {one} " for one in samples["text"].to_pylist()]
    says = np.array([" is " in one or " hello friend " in one for one in said])
    assert 0 < says.sum() < len(says)
    rewards = read_table(store.path(node(leaf, "shaped")) / "references.parquet")["rewards"].to_pylist()
    expected = recorded["proxy"].to_numpy() - 2 * np.std(rewards) * says
    np.testing.assert_allclose(scores["proxy"].to_numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(scores["proxy.0"].to_numpy(), recorded["proxy"].to_numpy())

    task, writer = store.path(node(leaf, "task")), store.path(leaf.inputs["samples"]) / "tokenizer"
    prompts = read_table(task / "prompts.parquet")
    heldout = prompts["prompt_id"].to_numpy()[np.array(prompts["split"].to_pylist()) == "heldout"]
    rows = np.searchsorted(heldout, samples["prompt_id"].to_numpy()).tolist()
    folder, tokenizer = store.path(node(leaf, "shaped")), tokenization.load_tokenizer(writer)
    learned = reward_models.rewards_of_split(task, folder, tokenizer, "heldout", RUNTIME)
    np.testing.assert_allclose(learned(rows, samples["token_ids"].to_pylist()), expected, atol=1e-4)

    assert leaf.inputs["samples"].key == plain.inputs["samples"].key, "one table of answers"
    run = Run(leaf.key, "adhoc", {}, (), {}, "made", store.root, "BestOfN", False)
    assert set(run.reward_models()) == set(run.scored_by()) == {node(leaf, "reward_model").key}


def test_a_weight_of_0_is_no_shaping(store):
    _, recorded = made(store)
    _, none = made(store, *PENALTY, "reward_shaping.weight=0")
    np.testing.assert_array_equal(none["proxy"].to_numpy(), recorded["proxy"].to_numpy())


def test_an_ensemble_is_penalised_after_it_is_combined():
    tokenizer, references = word_level(), np.array([[0.0, 2.0]])  # SD 1
    rule, asked = Minimum(2, Seeds.finetune, Offset.all), AgreementPenalty(0.5, ["i agree"])
    proxy = Proxy([], rule, np.zeros((2, 1)), np.array([1.0, 2.0]), asked, references)
    rewards, prompt = np.array([[3.0, 1.0], [4.0, 8.0]]), np.zeros(2, np.int64)
    answers = [tokenization.answer_ids(tokenizer, said, ended=False) for said in SAID[1:3]]
    found = proxy.shaper(tokenizer)(proxy.combined(rewards, prompt), prompt, answers)
    assert found.tolist() == [2.0 - 0.5, 1.0]


def test_what_a_policy_learned_from_is_not_what_is_recorded():
    leaf = plan(experiment(*SMALL, "policy=ppo", *PENALTY))
    assert (
        leaf.inputs["proxy"].name == "score" and leaf.inputs["proxy"].inputs["proxy"].name == "reward_model"
    )
    assert leaf.inputs["samples"].inputs["proxy"].name == "shaped"
