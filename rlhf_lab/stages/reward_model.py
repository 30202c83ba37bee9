"""The stage `reward_model`: a reward model trained on comparisons, with TRL's RewardTrainer.

The inputs are the task, the labelled pairs and the model to start from (`trunk`). The stage leaves `model/`, a
sequence classifier of one label; its rewards of held-out pairs, `heldout.parquet`; what they come to,
`evaluation.json`; and `metrics.jsonl`. Answers are read as token ids with EOS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.models import PretrainedModel, Rankings, RewardInit, RewardTraining
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import pretrained_files
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa

    from rlhf_lab.scoring.accuracy import Pairs
    from rlhf_lab.stages.reward_trainer import Ranking

VERSION = 3  # losses, rankings, halves; rewards of held-out pairs; no warm-up below 20 steps


def check(config: RewardTraining, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError if a model that is not trained has no reward head: its rewards would be random."""
    trunk = inputs["trunk"]
    if config.epochs > 0:
        return
    folder = pretrained_files.local(trunk) if isinstance(trunk, PretrainedModel) else None
    description = pretrained_files.describe(folder, trunk.path) if folder is not None else None
    if description is not None and not pretrained_files.is_classifier(description):
        architecture = pretrained_files.architecture(description)
        raise ValueError(
            f"{trunk.path}: found a {architecture} for a reward model of 0 epochs, expected a sequence classifier: "
            "give one, or train a head with rm.epochs=1"
        )


def run(config: RewardTraining, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train on comparisons of training questions, and evaluate on those of held-out questions."""
    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring import accuracy

    tokenizer = tokenization.load_tokenizer(inputs["trunk"] / "model")
    # The weights of a new head are drawn when the model is loaded.
    torch.manual_seed(config.seed if config.head_seed is None else config.head_seed)
    model = loading.load_reward_model(inputs["trunk"] / "model", runtime.device, config.dropout)
    model.config.pad_token_id = tokenizer.pad_token_id
    if config.init is RewardInit.scratch:
        model = loading.randomise(model, config.seed).to(runtime.device)
    sides = accuracy.sides(inputs["task"], inputs["pairs"], tokenizer, config.half)
    if config.epochs > 0:
        _train(config, model, tokenizer, group_pairs(*sides["train"]), out, runtime)
    loading.end_dropout(model, config.dropout)
    loading.save(model, tokenizer, out / "model")
    accuracy.judge(model, tokenizer, sides, inputs["task"], out, runtime.score_batch)


def _train(
    config: RewardTraining, model, tokenizer, rankings: list[Ranking], out: Path, runtime: Runtime
) -> None:
    from trl.trainer.reward_config import RewardConfig

    from rlhf_lab.models.trl_arguments import arguments, recording
    from rlhf_lab.stages.reward_trainer import RankingTrainer, shuffled

    if config.rankings is Rankings.shuffled:
        rankings = shuffled(rankings)
    pairs = sum(len(ranking.chosen) for ranking in rankings)
    batch = max(1, round(config.batch * len(rankings) / pairs))  # rankings
    total = config.epochs * -(-len(rankings) // batch)
    if config.frozen:
        model.requires_grad_(False)
        model.get_submodule(_head(model)).requires_grad_(True)
    with Metrics(out, total) as metrics:
        trainer = RankingTrainer(
            model=model,
            args=RewardConfig(
                **arguments(out, config.seed, runtime),
                num_train_epochs=config.epochs,
                per_device_train_batch_size=batch,
                learning_rate=config.lr,
                warmup_steps=total // 20,  # the first step of a warm-up has rate 0
                max_length=None,
                disable_dropout=config.dropout == 0,
            ),
            rankings=rankings,
            tokenizer=tokenizer,
            config=config,
        )
        recording(trainer, metrics).train()


def _head(model) -> str:
    """Return the name of the module that turns hidden states into rewards: the one outside the trunk."""
    outside = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if len(outside) != 1:
        raise ValueError(
            f"rm.frozen: {type(model).__name__} has {outside} beside its trunk, expected one head"
        )
    return outside[0]


def group_pairs(pairs: pa.Table, rows: Pairs) -> list[Ranking]:
    """Group the pairs of each ranking, with each answer once; every human comparison is a ranking of its own."""
    import numpy as np

    from rlhf_lab.stages.reward_trainer import Ranking

    def column(name: str, default: Any) -> list:
        """Return a column of the pairs as a list, or `default` where there is none."""
        return pairs[name].to_pylist() if name in pairs.column_names else default

    count = len(pairs)
    chosen, rejected = column("chosen_place", [0] * count), column("rejected_place", [1] * count)
    label, margin = column("label", [1.0] * count), column("margin", [0.0] * count)
    ranking = np.array(column("ranking", range(count)))
    rankings = []
    for indices in np.split(np.arange(count), np.flatnonzero(np.diff(ranking)) + 1):
        answers: dict[int, list[int]] = {}
        for row in indices:
            answers.setdefault(chosen[row], rows["chosen_ids"][row])
            answers.setdefault(rejected[row], rows["rejected_ids"][row])
        index = {place: number for number, place in enumerate(answers)}
        rankings.append(
            Ranking(
                answers=[*answers.values()],
                chosen=[index[chosen[row]] for row in indices],
                rejected=[index[rejected[row]] for row in indices],
                preference=[label[row] for row in indices],
                margin=[margin[row] for row in indices],
            )
        )
    return rankings
