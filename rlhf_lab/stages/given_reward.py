"""Control runs: policies that optimise a reward which is not learned, and its scores of samples.

- `ppo_on_gold`, `grpo_on_noise`, ...: the trainer of the stage of the first part of the name, with gold or noise in the
  place of the proxy. It leaves what that stage leaves.
- `given_score`: the reward that was optimised as the column `proxy` of `scores.parquet`.

This is the only module that brings gold and the training of a policy together. The stages in `policy/` never import
gold; `plan` asks for a stage on gold only where the run is marked `uses_gold`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.online import Online
from rlhf_lab.config.policies import ExpertIteration, Policy
from rlhf_lab.config.reward import GivenReward, GoldReward, NoiseReward
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import FieldGuide
from rlhf_lab.gold import CHANGES as GOLD_CHANGES
from rlhf_lab.stages.policy import expert_iteration, trainers
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

    from rlhf_lab.scoring.reward_models import Reward


# A stage has the version of the trainer that it runs, raised by every change of gold and by one since the critic's head
# is drawn by the seed.
TRAINERS = trainers.VERSION | {"expert_iteration": expert_iteration.VERSION}
VERSION = {"given_score": 2 + GOLD_CHANGES} | {
    stage + reward.SUFFIX: version + 1 + GOLD_CHANGES
    for stage, version in TRAINERS.items()
    for reward in (GoldReward, NoiseReward)
}


@dataclass(slots=True)
class OptimisedReward:
    """The configuration of a stage that optimises a given reward."""

    policy: Policy
    reward: GivenReward


@dataclass(slots=True)
class GivenScore:
    """The configuration of `given_score`."""

    reward: GivenReward


def check(config: OptimisedReward | GivenScore, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError for parts that gold has not."""
    from rlhf_lab.gold.rewards import parts

    if isinstance(config.reward, GoldReward):
        guide = isinstance(inputs.get("rubric") or inputs.get("task"), FieldGuide)
        of_task = parts("field_guide" if guide else "synthetic_assistant")
        unknown = [name for name in config.reward.parts if name not in of_task]
        if unknown:
            raise ValueError(f"reward.parts: gold has no part {unknown[0]!r}; it has {', '.join(of_task)}")


@singledispatch
def run(config: object, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Run the stage whose configuration is `config`."""
    raise TypeError(f"no stage of given rewards has a {type(config).__name__} as its configuration")


@run.register
def optimise(config: OptimisedReward, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train the policy as its own stage does, with the given reward."""

    def reward_of(writer: PreTrainedTokenizerBase) -> Reward:
        """Return the given reward for answers as ids of `writer`."""
        if isinstance(config.reward, GoldReward):
            return _gold_of_ids(config.reward, inputs, writer, runtime)
        assert isinstance(config.reward, NoiseReward)
        return _noise(config.reward.seed)

    if isinstance(config.policy, ExpertIteration):
        expert_iteration.run(config.policy, inputs, out, runtime, reward_of)
    else:
        assert isinstance(config.policy, Online)
        trainers.run(config.policy, inputs, out, runtime, reward_of)


@run.register
def score(config: GivenScore, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Score the samples with the reward that was given."""
    import pyarrow.parquet as pq

    from rlhf_lab.store.records import SCORES, read_parts, write_parts

    samples = inputs["samples"] / "samples.parquet"
    with Metrics(out, pq.read_metadata(samples).num_rows) as metrics:
        if isinstance(config.reward, GoldReward):
            rewards = _gold(config.reward, inputs, inputs["samples"] / "tokenizer", runtime)
        else:
            assert isinstance(config.reward, NoiseReward)
            noise = _noise(config.reward.seed)

            def rewards(rows: Any) -> np.ndarray:
                return noise(rows["prompt_id"].to_pylist(), rows["token_ids"].to_pylist())

        def parts() -> Any:
            """Give the column of every part of the samples."""
            done = 0
            for rows in read_parts(samples, ["prompt_id", "text", "token_ids", "finished"]):
                yield {"proxy": rewards(rows)}
                done += len(rows)
                metrics.progress(done)

        write_parts(out / SCORES, parts())


def _gold(reward: GoldReward, inputs: Mapping[str, Path], writer: Path, runtime: Runtime) -> Any:
    """Return a function that gives gold, or the sum of its parts, of tables of samples, (N,) float32."""
    import numpy as np

    from rlhf_lab.gold.rewards import gold, weights

    task = inputs.get("rubric", inputs["task"])
    scores = gold(task, inputs.get("gold"), writer, runtime)
    weight = weights(task) if reward.parts else {}

    def rewards(rows: Any) -> np.ndarray:
        """Return the reward of the rows of a table, (N,)."""
        columns = scores(rows)
        if not reward.parts:
            return columns["gold"]
        total = np.zeros(len(rows), dtype=np.float32)
        for name in reward.parts:
            if f"gold.{name}" in columns:  # a task in which nothing is harmful has no refusals: they are 0
                total += weight[name] * columns[f"gold.{name}"]
        return total

    return rewards


def _gold_of_ids(
    reward: GoldReward, inputs: Mapping[str, Path], writer: PreTrainedTokenizerBase, runtime: Runtime
) -> Reward:
    """Return gold as trainers ask for it: of rows of the training prompts and answers as ids of `writer`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from rlhf_lab.models.tokenization import answer_text
    from rlhf_lab.store.records import read_table

    prompts = read_table(inputs["task"] / "prompts.parquet", ["prompt_id", "split"])
    prompt_ids = prompts.filter(pc.field("split") == "train")["prompt_id"].to_numpy()
    scores = _gold(reward, inputs, inputs["sft"] / "model", runtime)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the reward of answers to the training prompts in these rows, (N,)."""
        table = {
            "prompt_id": prompt_ids[list(rows)],
            "text": [answer_text(writer, ids) for ids in answers],
            "token_ids": [list(ids) for ids in answers],
            "finished": [bool(ids) and ids[-1] == writer.eos_token_id for ids in answers],
        }
        return scores(pa.table(table))

    return rewards


def _noise(seed: int) -> Reward:
    """Return a reward of independent standard normal numbers.

    They depend on the seed and on the whole batch of prompts and answers. So a resumed training draws the same, and
    the samples of every replicate have numbers of their own.
    """
    import hashlib

    import numpy as np

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return one number for each answer of the batch, (N,)."""
        batch = repr((seed, list(rows), [list(ids) for ids in answers])).encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(batch).digest()[:16], "little"))
        return rng.standard_normal(len(answers)).astype(np.float32)

    return rewards
