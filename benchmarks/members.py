"""What several reward models cost: scored and combined against as many scored alone, and combined from stored scores.

python -m benchmarks.members [--members 5] [--answers 4096]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks import small
from rlhf_lab.config.combination import Offset, Seeds, UncertaintyWeighted
from rlhf_lab.models import sampling
from rlhf_lab.scoring import reward_models
from rlhf_lab.scoring.proxy import Proxy

PROMPTS = 32
BATCH = 512  # runtime.score_batch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--answers", type=int, default=4096)
    args = parser.parse_args()
    prompts, each = small.prompts(PROMPTS), args.answers // PROMPTS
    generator = torch.Generator().manual_seed(0)
    answers = sampling.sample(small.language_model(), prompts, each, small.ANSWER_TOKENS, generator).tokens()
    prompt = np.repeat(np.arange(PROMPTS), each)
    asked = [prompts[number] for number in prompt]
    models = [small.reward_model() for _ in range(args.members)]
    rule = UncertaintyWeighted(args.members, Seeds.finetune, Offset.all, 0.5)
    shape = args.members, PROMPTS
    proxy = Proxy([], rule, np.zeros(shape), np.ones(args.members), None, None)

    def scored(some: list) -> np.ndarray:
        return np.stack([reward_models.reward(model, asked, answers, BATCH) for model in some])

    stored = scored(models)
    took = small.seconds(
        {
            "one reward model": lambda: scored(models[:1]),
            f"{args.members} scored and combined": lambda: proxy.combined(scored(models), prompt),
            "combined from stored scores": lambda: proxy.combined(stored, prompt),
        }
    )
    for name, time in took.items():
        print(f"{name:28} {1e3 * time:10.2f} ms for {len(answers)} answers")
    one, together, combined = took.values()
    print(f"{f'ratio to {args.members} x one':28} {together / (args.members * one):10.3f}")
    print(f"{'combining, share of one':28} {combined / one:10.4f}")


if __name__ == "__main__":
    main()
