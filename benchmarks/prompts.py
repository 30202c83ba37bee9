"""Prompts rendered and encoded per second: `tokenization.prompts_ids` against the chat template called once a prompt.

python -m benchmarks.prompts [--prompts 2600]
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks import small
from rlhf_lab.models import tokenization

LIMIT = 64  # tokens


def dialogues(count: int) -> list[str]:
    """Distinct questions of random words, as tables of prompts have them."""
    rng = np.random.default_rng(0)
    said = rng.integers(3, small.VOCABULARY, size=(count, small.PROMPT_TOKENS))
    contents = (" ".join(f"w{word}" for word in words) for words in said)
    return [json.dumps([{"role": "user", "content": content}]) for content in contents]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=2600)
    asked, tokenizer = dialogues(parser.parse_args().prompts), small.tokenizer()
    tokenizer.chat_template = tokenization.PLAIN_TEMPLATE

    def apart() -> list[list[int]]:
        """One call of the chat template a prompt."""
        ids = []
        for messages in map(json.loads, asked):
            rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            ids.append([int(token) for token in rendered][-LIMIT:])  # pyright: ignore[reportArgumentType]
        return ids

    def together() -> list[list[int]]:
        """As stages read prompts."""
        return tokenization.prompts_ids(tokenizer, asked, LIMIT)

    assert apart() == together()
    took = small.seconds({"one by one": apart, "prompts_ids": together})
    for name, time in took.items():
        print(f"{name:18} {len(asked) / time:8.0f} prompts/s")
    print(f"{'ratio':18} {took['one by one'] / took['prompts_ids']:8.2f}")


if __name__ == "__main__":
    main()
