"""Answers per second of `rlhf_lab.models.sampling` against `transformers.generate`: for best-of-n, and for a rollout.

python -m benchmarks.sampler [--hidden 32] [--n 256]
"""

from __future__ import annotations

import argparse

import torch
from transformers import PreTrainedModel

from benchmarks import small
from rlhf_lab.models import sampling
from rlhf_lab.models.batches import left_padded

ROLLOUT = 128  # prompts, one answer each


def compare(model: PreTrainedModel, count: int, n: int) -> None:
    """Print answers per second of both, n answers to each of `count` prompts."""
    prompts, generator = small.prompts(count), torch.Generator().manual_seed(0)
    ids, mask = left_padded(prompts, small.PAD)

    def generate() -> None:
        """The library's own sampling, with the settings of ours."""
        with torch.inference_mode():
            model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                max_new_tokens=small.ANSWER_TOKENS,
                num_return_sequences=n,
            )

    def ours() -> None:
        """As policies answer here."""
        sampling.sample(model, prompts, n, small.ANSWER_TOKENS, generator)

    took = small.seconds({"transformers.generate": generate, "rlhf_lab.models.sampling": ours})
    print(f"{count} prompts x {n} answers of up to {small.ANSWER_TOKENS} tokens")
    for name, time in took.items():
        print(f"  {name:24} {count * n / time:8.0f} answers/s")
    print(f"  {'ratio':24} {took['transformers.generate'] / took['rlhf_lab.models.sampling']:8.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--n", type=int, default=256)
    args = parser.parse_args()
    model = small.language_model(args.hidden)
    print(f"width {args.hidden}")
    for count, n in ((4, args.n), (ROLLOUT, 1)):
        compare(model, count, n)


if __name__ == "__main__":
    main()
