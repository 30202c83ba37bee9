"""Seconds of an evaluation of a policy on held-out prompts, by part: its samples, and exact KL from its reference.

python -m benchmarks.evaluation [--hidden 32] [--prompts 512] [--samples 2]
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import small
from rlhf_lab.models import log_ratios, sampling

WIDE = 512  # answers at a time, for comparison


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--samples", type=int, default=2)
    args = parser.parse_args()
    policy, ref = (small.language_model(args.hidden) for _ in range(2))
    prompts, generator = small.prompts(args.prompts), torch.Generator().manual_seed(0)
    asked = [prompt for prompt in prompts for _ in range(args.samples)]

    def sample() -> list[list[int]]:
        return sampling.sample(policy, prompts, args.samples, small.ANSWER_TOKENS, generator).tokens()

    answers = sample()
    took = small.seconds(
        {
            "sampling": sample,
            f"KL, {log_ratios.BATCH} at a time": lambda: log_ratios.log_ratios(policy, ref, asked, answers),
            f"KL, {WIDE} at a time": lambda: log_ratios.log_ratios(policy, ref, asked, answers, WIDE),
        }
    )
    print(f"width {args.hidden}, {args.prompts} prompts x {args.samples} answers")
    for name, time in took.items():
        print(f"{name:24} {1000 * time:8.0f} ms")
    _, narrow, wide = took.values()
    print(f"{'ratio of the last two':24} {wide / narrow:8.2f}")


if __name__ == "__main__":
    main()
