"""Small checkpoints with their own tokenizers, as another project might have saved them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

TEXTS = [
    "How do I mend the parcel?",
    "Start with the lamp and take your time.",
    "the garden, the boat and the clock",
] * 4
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant]\n"


def bpe(vocabulary: int, special: list[str]) -> Tokenizer:
    """Return a byte-level BPE trained on a few sentences."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    core.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    return core


def gpt2(folder: Path, classifier: bool = False, seed: int = 0) -> Path:
    """Save a GPT-2 like the published one: one special token, no padding, no chat template; return its folder."""
    torch.manual_seed(seed)
    core = bpe(300, ["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2, num_labels=1,
        eos_token_id=0, bos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    kind = GPT2ForSequenceClassification if classifier else GPT2LMHeadModel
    return _saved(kind(config), tokenizer, folder)


def llama(folder: Path, classifier: bool = False, seed: int = 0, labels: int = 1) -> Path:
    """Save a chat model with another vocabulary, other special tokens and a chat template; return its folder."""
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe(310, ["<unk>", "</s>", "[PAD]"]),
        eos_token="</s>", pad_token="[PAD]", unk_token="<unk>", chat_template=TEMPLATE,
    )  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, num_labels=labels,
        eos_token_id=1, bos_token_id=None, pad_token_id=2,
        initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    kind = LlamaForSequenceClassification if classifier else LlamaForCausalLM
    return _saved(kind(config), tokenizer, folder)


def _saved(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
