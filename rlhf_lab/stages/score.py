"""The stage `score`: scores of stored samples by gold, a proxy, a labeler or a judge.

The inputs are the samples and what the scorer needs (task, proxy, gold model). The stage leaves `scores.parquet` with
one float32 column a number, rows in the order of the samples. A new scorer adds numbers and retrains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.labelers import Labeler
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.gold import CHANGES as GOLD_CHANGES
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


VERSION = 1 + GOLD_CHANGES
MODELS = ("proxy", "test")  # scorers that are reward models
BUILT_IN = ("gold", "behaviour", "utility", "second_turns", *MODELS)  # every other name is a judge


@dataclass(slots=True)
class Scorer:
    """The configuration of the stage: one scorer."""

    name: str  # one of BUILT_IN (`test` is a proxy that is not optimised), or a judge "module:function"
    source: str | None = None  # digest of a judge's module
    labeler: Labeler | None = None  # the labeler whose utility is recorded


def check(config: Scorer, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError if the labeler whose utility is recorded has none."""
    if config.labeler is not None:
        from rlhf_lab.scoring.labelers import utility

        if utility.dispatch(type(config.labeler)) is utility.dispatch(object):
            raise ValueError(
                f"score.utility=true asks what an answer is worth to the labeler, and {type(config.labeler).__name__} "
                "has no utility: set it to false, or choose another labeler"
            )


def run(config: Scorer, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Score the samples part by part; raise an error for a number that is missing or not finite."""
    import pyarrow.parquet as pq

    from rlhf_lab.store.records import SCORES, write_parts

    samples = inputs["samples"] / "samples.parquet"
    score, parts = _scorer(config, inputs, runtime), _parts(config, samples)

    def scored(metrics: Metrics) -> Iterator[dict[str, np.ndarray]]:
        """Give the checked columns of every part."""
        done = 0
        for part in parts:
            columns = score(part)
            for name, values in columns.items():
                _check(name, values, len(part))
            yield columns
            done += len(part)
            metrics.progress(done)

    with Metrics(out, pq.read_metadata(samples).num_rows) as metrics:
        write_parts(out / SCORES, scored(metrics))


def _parts(config: Scorer, samples: Path) -> Iterator[pa.Table]:
    """Return the rows to score at a time: a row group, which never splits a prompt's answers; for a judge all rows."""
    from rlhf_lab.store.records import read_parts, read_table

    if config.name == "second_turns":
        return read_parts(samples, ["prompt_id", "first", "text"])
    columns = ["prompt_id", "text", "token_ids", "finished"]
    if config.name in BUILT_IN:
        return read_parts(samples, columns)
    return iter([read_table(samples, columns)])


def _scorer(
    config: Scorer, inputs: Mapping[str, Path], runtime: Runtime
) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    writer = inputs["samples"] / "tokenizer"
    if config.name == "gold":
        from rlhf_lab.gold.rewards import gold

        return gold(inputs["task"], inputs.get("gold"), writer, runtime)
    if config.name == "behaviour":
        from rlhf_lab.gold.rewards import behaviour

        return behaviour(inputs["task"])
    if config.name == "second_turns":
        from rlhf_lab.gold.rewards import second_turns

        return second_turns(inputs["task"])
    if config.labeler is not None:
        return _utility(config.labeler, inputs["task"], writer, runtime)
    if config.name in MODELS:
        from rlhf_lab.scoring.reward_models import rewards_of_samples

        rewards = rewards_of_samples(inputs["task"], inputs["proxy"], writer, runtime)
        return lambda samples: {config.name: rewards(samples)}
    return lambda samples: {config.name: _judge(config.name, inputs["task"], samples)}


def _utility(
    labeler: Labeler, task: Path, writer: Path, runtime: Runtime
) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    import numpy as np

    from rlhf_lab.gold.rewards import gold, labeler_features
    from rlhf_lab.scoring.labelers import utility

    gold_scores, features = gold(task, None, writer, runtime), labeler_features(task)

    def score(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return the utility of the rows of a table, (N,)."""
        tokens = np.array([len(ids) for ids in samples["token_ids"].to_pylist()], float)
        seen = gold_scores(samples) | features(samples) | {"tokens": tokens}
        return {"utility": utility(labeler, seen).astype(np.float32)}

    return score


def _judge(name: str, task: Path, samples: pa.Table) -> np.ndarray:
    """Return the numbers of a judge, function(prompts, answers) of lists of str; a prompt has one turn a line."""
    import json

    import numpy as np

    from rlhf_lab.store.records import read_table

    module, _, function = name.partition(":")
    dialogues = map(json.loads, read_table(task / "prompts.parquet")["messages"].to_pylist())
    prompts = ["\n".join(message["content"] for message in messages) for messages in dialogues]
    asked = [prompts[prompt_id] for prompt_id in samples["prompt_id"].to_pylist()]
    judge = getattr(import_module(module), function)
    return np.asarray(judge(asked, samples["text"].to_pylist()), np.float32)


def _check(name: str, values: np.ndarray, count: int) -> None:
    import numpy as np

    if values.shape != (count,):
        raise ValueError(
            f"scorer {name!r} gave {values.shape} numbers, expected ({count},): one for each answer"
        )
    if not np.isfinite(values).all():
        raise FloatingPointError(f"scorer {name!r} gave a number that is not finite; nothing was recorded")
