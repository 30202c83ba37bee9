"""Answers per second of `rlhf_lab.sampling` against `transformers.generate`: N answers to each prompt.

python -m benchmarks.sampler [--hidden 32] [--n 256]
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import small
from rlhf_lab import sampling
from rlhf_lab.batches import left_padded

PROMPTS = 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--n", type=int, default=256)
    args = parser.parse_args()
    model, prompts = small.language_model(args.hidden), small.prompts(PROMPTS)
    ids, mask = left_padded(prompts, small.PAD)
    generator = torch.Generator().manual_seed(0)

    def generate() -> None:
        with torch.inference_mode():
            model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                max_new_tokens=small.ANSWER_TOKENS,
                num_return_sequences=args.n,
            )

    def ours() -> None:
        sampling.sample(model, prompts, args.n, small.ANSWER_TOKENS, generator)

    took = small.seconds({"transformers.generate": generate, "rlhf_lab.sampling": ours})
    answers = PROMPTS * args.n
    print(f"width {args.hidden}, {PROMPTS} prompts x {args.n} answers of up to {small.ANSWER_TOKENS} tokens")
    for name, time in took.items():
        print(f"{name:24} {answers / time:8.0f} answers/s")
    print(f"{'ratio':24} {took['transformers.generate'] / took['rlhf_lab.sampling']:8.2f}")


if __name__ == "__main__":
    main()
