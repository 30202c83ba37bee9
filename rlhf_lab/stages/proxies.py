"""The stages that make a proxy of several reward models, or shape one, and that score samples with the result.

- `references` samples a few SFT answers to every prompt: `answers.parquet` and `tokenizer/`.
- `reference_rewards` scores them with one reward model: `rewards.parquet`, rows in their order.
- `ensemble` brings several reward models together, with the offsets and SDs that put them on one scale.
- `weight_average` makes one reward model whose weights are the mean of the members' (WARM, 2401.12187).
- `shaped` adds a shaping, and rewards of SFT answers, to a proxy.
- `combined_score` makes the proxy's score of samples from the members' scores: `scores.parquet`.

The folders of the proxies that these stages leave are described in `rlhf_lab.scoring.proxy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

from rlhf_lab.config.combination import Ensemble, WeightAverage
from rlhf_lab.config.models import Half
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.shaping import Shaping
from rlhf_lab.store.metrics import Metrics

VERSION = {
    "references": 1,
    "reference_rewards": 1,
    "ensemble": 1,
    "weight_average": 2,  # judged on held-out pairs
    "shaped": 1,
    "combined_score": 1,
}
ANSWERS, SEED = 8, 0  # reference answers to each prompt; PAR needs one (2502.18770), an SD needs more


@dataclass(slots=True)
class References:
    """The configuration of `references`, which has no setting: all reward models of a policy share its answers."""


@dataclass(slots=True)
class ReferenceRewards:
    """The configuration of `reference_rewards`, which has no setting."""


@dataclass(slots=True)
class CombinedScore:
    """The configuration of `combined_score`; the proxy's folder says how the members are combined and shaped."""

    members: int


@singledispatch
def run(config: object, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Run the stage whose configuration is `config`."""
    raise TypeError(f"no stage of proxies has a {type(config).__name__} as its configuration")


@run.register
def sample_references(config: References, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample SFT answers to every prompt of the task, in order of prompt_id."""
    import json

    import numpy as np
    import torch

    from rlhf_lab.models import loading, sampling, tokenization
    from rlhf_lab.store.records import read_table, write_table

    limits = json.loads((inputs["task"] / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(inputs["sft"] / "model")
    sft = loading.load_language_model(inputs["sft"] / "model", runtime.device)
    prompts = read_table(inputs["task"] / "prompts.parquet")
    ids = tokenization.prompts_ids(tokenizer, prompts["messages"].to_pylist(), limits["prompt_tokens"])
    generator = torch.Generator(runtime.device).manual_seed(SEED)
    with Metrics(out, len(ids)) as metrics:
        answers = sampling.sample(sft, ids, ANSWERS, limits["answer_tokens"], generator).tokens()
        metrics.progress(len(ids))
    rows = {
        "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), ANSWERS),
        "text": [tokenization.answer_text(tokenizer, answer) for answer in answers],
        "token_ids": answers,
    }
    write_table(out / "answers.parquet", rows)
    tokenizer.save_pretrained(out / "tokenizer")


@run.register
def score_references(
    config: ReferenceRewards, inputs: Mapping[str, Path], out: Path, runtime: Runtime
) -> None:
    """Score every reference answer with the reward model in `member`."""
    from rlhf_lab.scoring.reward_models import rewards_of_samples
    from rlhf_lab.store.records import read_table, write_table

    answers = read_table(inputs["references"] / "answers.parquet")
    writer = inputs["references"] / "tokenizer"
    rewards = rewards_of_samples(inputs["task"], inputs["member"], writer, runtime)
    write_table(out / "rewards.parquet", {"prompt_id": answers["prompt_id"], "reward": rewards(answers)})


@run.register
def combine(config: Ensemble, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Link the members into one folder, with the rule that combines them and what puts them on one scale."""
    import numpy as np

    from rlhf_lab.functional.combination import scale
    from rlhf_lab.scoring.proxy import link_tree, write_combination
    from rlhf_lab.store.records import read_table

    offsets, sds = [], []
    for number in range(config.members):
        member = out / "members" / str(number) if number else out
        link_tree(inputs[f"member.{number}"] / "model", member / "model")
        rows = read_table(inputs[f"rewards.{number}"] / "rewards.parquet")
        prompts = len(np.unique(rows["prompt_id"].to_numpy()))
        rewards = rows["reward"].to_numpy().astype(float).reshape(prompts, -1)
        offset, sd = scale(rewards, config.offset)
        offsets.append(offset)
        sds.append(sd)
    write_combination(out, config, np.stack(offsets), np.array(sds))


@run.register
def average_weights(config: WeightAverage, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Average the members' weights into `model/`, and judge it on the comparisons that all of them learned from."""
    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring import accuracy

    folders = [inputs[f"member.{number}"] / "model" for number in range(config.members)]
    model = loading.load_reward_model(folders[0], runtime.device)
    others = [
        dict(loading.load_reward_model(folder, runtime.device).named_parameters()) for folder in folders[1:]
    ]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.stack([parameter, *(other[name] for other in others)]).mean(dim=0))
    tokenizer = tokenization.load_tokenizer(folders[0])
    loading.save(model, tokenizer, out / "model")
    sides = accuracy.sides(inputs["task"], inputs["pairs"], tokenizer, Half.both)
    accuracy.judge(model, tokenizer, sides, inputs["task"], out, runtime.score_batch)


@run.register
def shape(config: Shaping, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Link the proxy into `out`, with the shaping and the proxy's rewards of SFT answers."""
    import numpy as np

    from rlhf_lab.scoring.proxy import RULE, SCALE, Proxy, link_tree, write_shaping
    from rlhf_lab.store.records import read_table

    for path in sorted(inputs["proxy"].iterdir()):
        if path.is_dir() and path.name != "checkpoint":
            link_tree(path, out / path.name)
    for name in (RULE, SCALE):
        if (inputs["proxy"] / name).exists():
            (out / name).write_bytes((inputs["proxy"] / name).read_bytes())
    proxy = Proxy.load(inputs["proxy"])
    tables = [
        read_table(inputs[f"rewards.{number}"] / "rewards.parquet") for number in range(len(proxy.members))
    ]
    prompt = tables[0]["prompt_id"].to_numpy()
    rewards = np.stack([table["reward"].to_numpy() for table in tables]).astype(float)
    references = proxy.combined(rewards, prompt).reshape(len(np.unique(prompt)), -1)
    write_shaping(out, config, references)


@run.register
def combine_scores(config: CombinedScore, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Combine the members' scores of samples: `proxy`, and unshaped on one scale `proxy.0`, `proxy.1`, ..."""
    import numpy as np

    from rlhf_lab.models import tokenization
    from rlhf_lab.scoring.proxy import Proxy
    from rlhf_lab.store.records import SAMPLES, SCORES, read_table, write_table

    proxy = Proxy.load(inputs["ensemble"])
    samples = read_table(inputs["samples"] / SAMPLES, ["prompt_id", "token_ids"])
    prompt = samples["prompt_id"].to_numpy()
    answers = samples["token_ids"].to_pylist() if proxy.shaping else []
    shaped = proxy.shaper(tokenization.load_tokenizer(inputs["samples"] / "tokenizer"))
    scores = [
        read_table(inputs[f"scores.{number}"] / SCORES, ["proxy"])["proxy"].to_numpy()
        for number in range(config.members)
    ]
    rewards = np.stack(scores).astype(float)
    columns = {"proxy": shaped(proxy.combined(rewards, prompt), prompt, answers)}
    for number, values in enumerate(proxy.on_one_scale(rewards, prompt)):
        columns[f"proxy.{number}"] = values
    write_table(out / SCORES, {name: values.astype(np.float32) for name, values in columns.items()})
