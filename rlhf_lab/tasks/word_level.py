"""What the embedded tasks share: a tokenizer with one token for each word, and splits by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def tokenizer(words: Sequence[str], marks: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of `words`, with a chat template; <pad>, <eos>, <unk> and `marks` are among them."""
    model = models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=list(marks),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def place(text: str) -> float:
    """Return a hash of the text in [0, 1), which splits texts the same way every time."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8
