"""Checkpoints from elsewhere: what is taken over as it is, what is refused, and what is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
from bad_inputs import edited
from runtime import RUNTIME
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf_lab.config.models import PretrainedModel
from rlhf_lab.models import loading, tokenization
from rlhf_lab.scoring import reward_models
from rlhf_lab.stages import pretrained

ASKED = [
    [{"role": "user", "content": content}] for content in ("How do I mend the lamp?", "And the boat?", "Hm?")
]
ANSWERS = ["Start with the garden.", "", "take your time and mend the parcel, the clock and the boat"]


def stage(source: Path | str, out: Path, revision: str | None = None, positions: int = 60) -> Path:
    """The folder of the model that the stage makes of a checkpoint."""
    task = out / "task"
    task.mkdir(parents=True)
    (task / "task.json").write_text(json.dumps({"prompt_tokens": positions - 20, "answer_tokens": 20}))
    made = out / "made"
    made.mkdir()
    pretrained.run(PretrainedModel(str(source), revision), {"task": task}, made, RUNTIME)
    return made / "model"


# --- what is taken over -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [checkpoints.gpt2, checkpoints.llama])
def test_a_language_model_keeps_its_distribution(make: Callable[..., Path], tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    made = stage(source, tmp_path / "out")
    before = AutoModelForCausalLM.from_pretrained(source).eval()
    after, tokenizer = loading.load_language_model(made), tokenization.load_tokenizer(made)
    ids = torch.tensor([tokenization.prompt_ids(tokenizer, ASKED[0], 40)])
    known = before.config.vocab_size
    torch.testing.assert_close(after(ids).logits[..., :known], before(ids).logits)
    assert tokenizer.encode("mend the lamp") == AutoTokenizer.from_pretrained(source).encode("mend the lamp")


@pytest.mark.parametrize("make", [checkpoints.gpt2, checkpoints.llama])
def test_prompts_that_are_encoded_together_are_the_chat_templates_own(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    """Also with a tokenizer that puts a token of its own before every text, which a template says itself."""
    tokenizer = tokenization.load_tokenizer(make(tmp_path / "source"))
    eos = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{eos} $A", special_tokens=[(eos, tokenizer.eos_token_id)]
    )
    assert tokenizer.encode("lamp")[0] == tokenizer.eos_token_id
    dialogues = [*ASKED, [*ASKED[0], {"role": "assistant", "content": "With care."}, *ASKED[1]]]
    expected = [
        list(tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False))
        for one in dialogues
    ]
    found = tokenization.prompts_ids(tokenizer, [json.dumps(one) for one in [*dialogues, *dialogues]], 1000)
    assert found == expected * 2
    assert tokenization.prompts_ids(tokenizer, [json.dumps(dialogues[-1])], 5) == [expected[-1][-5:]]
    assert tokenization.prompts_ids(tokenizer, [], 5) == []


@pytest.mark.parametrize("make", [checkpoints.gpt2, checkpoints.llama])
def test_a_classifier_stays_one_and_gives_the_same_reward(make: Callable[..., Path], tmp_path: Path) -> None:
    source = make(tmp_path / "source", classifier=True)
    made = stage(source, tmp_path / "out")
    before = AutoModelForSequenceClassification.from_pretrained(source).eval()
    after, tokenizer = loading.load_reward_model(made), tokenization.load_tokenizer(made)
    assert type(after) is type(before)
    for messages, answer in zip(ASKED, ANSWERS, strict=True):
        ids = [*tokenization.prompt_ids(tokenizer, messages, 40), *tokenization.answer_ids(tokenizer, answer)]
        rows = torch.tensor([ids])
        trunk = before.transformer if hasattr(before, "transformer") else before.model
        expected = before.score(trunk(rows).last_hidden_state[:, -1]).item()  # at EOS
        assert reward_models.reward(after, [[]], [ids], 8)[0] == pytest.approx(expected, abs=1e-5)


def test_padding_and_the_end_of_an_answer_are_told_apart(tmp_path: Path) -> None:
    made = stage(checkpoints.gpt2(tmp_path / "source"), tmp_path / "out")
    model, tokenizer = loading.load_language_model(made), tokenization.load_tokenizer(made)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id == 300
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 301
    probability = model(torch.tensor([[5, 6, 7]])).logits.softmax(-1)
    assert probability[..., 300].max() < 1 / 300


def test_sampling_options_of_the_checkpoint_are_gone(tmp_path: Path) -> None:
    source = checkpoints.llama(tmp_path / "source")
    options = {"temperature": 0.6, "top_k": 5, "do_sample": True, "eos_token_id": [1, 7]}
    (source / "generation_config.json").write_text(json.dumps(options))
    generation = loading.load_language_model(stage(source, tmp_path / "out")).generation_config
    assert generation is not None
    assert (generation.temperature, generation.top_k, generation.eos_token_id) == (None, None, 1)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    source = checkpoints.gpt2(tmp_path / "source")
    one, other = stage(source, tmp_path / "one"), stage(source, tmp_path / "other")
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_hub_repository_is_fetched_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    source, asked = checkpoints.llama(tmp_path / "source"), {}

    def fetch(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(source)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert (stage("someone/model", tmp_path / "out", "f" * 40) / "model.safetensors").is_file()
    assert (asked["name"], asked["revision"]) == ("someone/model", "f" * 40)
    assert not any(pattern in str(asked["allow_patterns"]) for pattern in ("*.bin", "*.py", "*.pt"))


def test_what_the_hub_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetch(name: str, **options: object) -> str:
        raise ConnectionError("no route\nand a long trace")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(ValueError, match=r"could be fetched \(ConnectionError: no route\)"):
        stage("someone/model", tmp_path / "out", "f" * 40)


def test_a_hub_repository_is_looked_at_once_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    source = checkpoints.llama(tmp_path / "source")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(source))
    with pytest.raises(ValueError, match="someone/model: found only pickled weights"):
        stage("someone/model", tmp_path / "out", "f" * 40)


# --- what is refused when it is loaded; the files of a checkpoint: tests/test_bad_input.py --------------------


def drop_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_head, r"the files lack weights of LlamaForCausalLM \(such as lm_head.weight\)"),
        (lambda f: edited(f / "tokenizer_config.json", eos_token=None), "the tokenizer has no EOS token"),
    ],
)
def test_a_checkpoint_is_refused_in_one_line(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    source = checkpoints.llama(tmp_path / "source")
    spoil(source)
    with pytest.raises(ValueError, match=message) as refused:
        stage(source, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert str(source) in str(refused.value)


def test_a_classifier_of_several_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found a classifier of 3 labels, expected one label"):
        stage(checkpoints.llama(tmp_path / "source", classifier=True, labels=3), tmp_path / "out")


def test_a_reward_model_is_no_policy(tmp_path: Path) -> None:
    made = stage(checkpoints.llama(tmp_path / "source", classifier=True), tmp_path / "out")
    with pytest.raises(ValueError, match="found a LlamaForSequenceClassification, expected a causal"):
        loading.load_language_model(made)


def test_a_model_too_short_for_the_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the model reads 128 tokens, the task needs 200"):
        stage(checkpoints.gpt2(tmp_path / "source"), tmp_path / "out", positions=200)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    source = checkpoints.gpt2(tmp_path / "source")
    other = checkpoints.llama(tmp_path / "other")
    for path in other.glob("tokenizer*"):
        (source / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="the tokenizer has 310 tokens, the model reads 300"):
        stage(source, tmp_path / "out")


# --- two tokenizers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writes", "reads"), [(checkpoints.gpt2, checkpoints.llama), (checkpoints.llama, checkpoints.gpt2)]
)
def test_a_reward_model_scores_answers_of_another_tokenizer(
    writes: Callable[..., Path], reads: Callable[..., Path], tmp_path: Path
) -> None:
    policy = stage(writes(tmp_path / "policy"), tmp_path / "one")
    reward = stage(reads(tmp_path / "reward", classifier=True), tmp_path / "two")
    writer, reader = tokenization.load_tokenizer(policy), tokenization.load_tokenizer(reward)
    model = loading.load_reward_model(reward)
    assert not tokenization.same_tokens(writer, reader)

    finished = [True, True, False]
    written = [
        tokenization.answer_ids(writer, answer, ended)
        for answer, ended in zip(ANSWERS, finished, strict=True)
    ]
    answers = tokenization.answers_read_by(reader, writer, ANSWERS, written, 4)
    prompts = tokenization.prompts_ids(reader, [json.dumps(messages) for messages in ASKED], 40)
    scores = reward_models.reward(model, prompts, answers, 8)

    for row, messages in enumerate(ASKED):
        own = tokenization.answer_ids(
            reader, ANSWERS[row], finished[row]
        )  # whole, although longer than its limit
        alone = reward_models.reward(model, [tokenization.prompt_ids(reader, messages, 40)], [own], 1)
        np.testing.assert_allclose(scores[row], alone[0], rtol=1e-5)
    assert len(answers[2]) > 4 and answers[2][-1] != reader.eos_token_id


def test_ids_of_the_same_tokenizer_stay_as_they_were_sampled(tmp_path: Path) -> None:
    folder = stage(checkpoints.llama(tmp_path / "source"), tmp_path / "out")
    tokenizer = tokenization.load_tokenizer(folder)
    spelled = [
        tokenizer.encode(letter)[0] for letter in "mend"
    ]  # not how the tokenizer itself would write it
    assert spelled != tokenizer.encode("mend")
    kept = tokenization.answers_read_by(
        tokenizer, tokenization.load_tokenizer(folder), ["mend"], [spelled], 2
    )
    assert kept == [spelled]


def test_human_text_is_ended_and_cut_at_the_limit(tmp_path: Path) -> None:
    tokenizer = tokenization.load_tokenizer(stage(checkpoints.llama(tmp_path / "source"), tmp_path / "out"))
    answers = ["mend", "the garden, the boat and the clock"]
    read = tokenization.answers_read_by(tokenizer, tokenizer, answers, [[], []], 4)
    assert read == tokenization.answers_ids(tokenizer, answers, 4)
    assert read[0][-1] == tokenizer.eos_token_id and len(read[1]) == 4
