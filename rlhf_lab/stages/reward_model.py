"""A reward model on comparisons, with TRL's RewardTrainer on token ids that include EOS."""

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

VERSION = 2  # losses, rankings, halves; rewards of held-out pairs


def check(config: RewardTraining, inputs: Mapping[str, Any]) -> None:
    """ValueError when a model that is not trained has no head: its rewards would be those of random weights."""
    trunk = inputs["trunk"]
    if config.epochs > 0:
        return
    folder = pretrained_files.local(trunk) if isinstance(trunk, PretrainedModel) else None
    described = pretrained_files.describe(folder, trunk.path) if folder is not None else None
    if described is not None and not pretrained_files.is_classifier(described):
        found = pretrained_files.architecture(described)
        raise ValueError(
            f"{trunk.path}: found a {found} for a reward model of 0 epochs, expected a sequence classifier: "
            "give one, or train a head with rm.epochs=1"
        )


def run(config: RewardTraining, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train on the training questions' comparisons; evaluate on the held-out questions' into `evaluation.json`."""
    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring import accuracy

    tokenizer = tokenization.load_tokenizer(inputs["trunk"] / "model")
    torch.manual_seed(config.seed if config.head_seed is None else config.head_seed)  # the head's weights
    model = loading.load_reward_model(inputs["trunk"] / "model", runtime.device, config.dropout)
    model.config.pad_token_id = tokenizer.pad_token_id
    if config.init is RewardInit.scratch:
        model = loading.randomise(model, config.seed).to(runtime.device)
    sides = accuracy.sides(inputs["task"], inputs["pairs"], tokenizer, config.half)
    if config.epochs > 0:
        _train(config, model, tokenizer, rankings(*sides["train"]), out, runtime)
    loading.end_dropout(model, config.dropout)
    loading.save(model, tokenizer, out / "model")
    accuracy.judge(model, sides, out, runtime.score_batch)


def _train(
    config: RewardTraining, model, tokenizer, learned: list[Ranking], out: Path, runtime: Runtime
) -> None:
    from trl.trainer.reward_config import RewardConfig

    from rlhf_lab.models.trl_arguments import arguments, bare
    from rlhf_lab.stages.reward_trainer import RankingTrainer, shuffled

    if config.rankings is Rankings.shuffled:
        learned = shuffled(learned)
    pairs = sum(len(one.chosen) for one in learned)
    batch = max(1, round(config.batch * len(learned) / pairs))  # rankings
    total = config.epochs * -(-len(learned) // batch)
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
                warmup_steps=max(1, total // 20),
                max_length=None,
                disable_dropout=config.dropout == 0,
            ),
            rankings=learned,
            tokenizer=tokenizer,
            config=config,
        )
        bare(trainer, metrics).train()


def _head(model) -> str:
    """The name of the module that makes rewards of hidden states: the one outside the trunk."""
    outside = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if len(outside) != 1:
        raise ValueError(
            f"rm.frozen: {type(model).__name__} has {outside} beside its trunk, expected one head"
        )
    return outside[0]


def rankings(pairs: pa.Table, rows: Pairs) -> list[Ranking]:
    """The pairs of each prompt together, with its answers once; human comparisons are pairs of their own."""
    import numpy as np

    from rlhf_lab.stages.reward_trainer import Ranking

    def column(name: str, default: Any) -> list:
        return pairs[name].to_pylist() if name in pairs.column_names else default

    count = len(pairs)
    places = column("chosen_place", [0] * count), column("rejected_place", [1] * count)
    label, margin = column("label", [1.0] * count), column("margin", [0.0] * count)
    ranking = np.array(column("ranking", range(count)))
    found = []
    for own in np.split(np.arange(count), np.flatnonzero(np.diff(ranking)) + 1):
        answers: dict[int, list[int]] = {}
        for row in own:
            answers.setdefault(places[0][row], rows["chosen_ids"][row])
            answers.setdefault(places[1][row], rows["rejected_ids"][row])
        where = {place: number for number, place in enumerate(answers)}
        found.append(
            Ranking(
                answers=[*answers.values()],
                chosen=[where[places[0][row]] for row in own],
                rejected=[where[places[1][row]] for row in own],
                preference=[label[row] for row in own],
                margin=[margin[row] for row in own],
            )
        )
    return found
