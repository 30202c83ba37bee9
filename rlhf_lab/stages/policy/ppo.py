"""PPO against the proxy reward, evaluated on held-out prompts on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import PPO, Runtime

VERSION = 2


def run(config: PPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves samples and reference tables, `tokenizer/`, `model/` and `metrics.jsonl`."""
    from rlhf_lab.stages.policy.online import run as online
    from rlhf_lab.stages.policy.online.ppo import PPOTrainer
    from rlhf_lab.stages.policy.online.problem import Problem, load_critic, load_documents
    from rlhf_lab.stages.policy.online.rollouts import Report

    def make(problem: Problem, config: PPO, out: Path, device: str, report: Report) -> PPOTrainer:
        """The trainer, with a critic that starts from the reward model."""
        critic = load_critic(inputs, problem.tokenizer, device)
        longest = max(map(len, problem.prompts)) + problem.answer_tokens
        documents = load_documents(inputs["task"], problem.tokenizer, longest) if config.ptx_coef else []
        return PPOTrainer(problem, critic, documents, config, out, device, report)

    online.run(config, inputs, out, runtime, make)
