"""Answers to the same prompt, compared pair by pair: what reward models learn from, and what they are judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.labelers import Labeler, Preferences, Unsure
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


VERSION = 2  # rankings, and whose answers are compared
HELDOUT_PAIRS = 1000  # on held-out questions; no model trains on them


@dataclass(slots=True)
class Labelled:
    """The configuration of the preferences stage: how many pairs, and who labels them."""

    preferences: Preferences
    labeler: Labeler


def run(config: Labelled, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample answers to each prompt, score them with gold, let the labeler compare them; `pairs.parquet`."""
    import json

    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import torch

    from rlhf_lab.gold.rewards import gold, labeler_features
    from rlhf_lab.models import loading, sampling, tokenization
    from rlhf_lab.scoring.labelers import prefers_first, settled
    from rlhf_lab.store.records import read_table, write_table

    task, seed, count = inputs["task"], config.preferences.seed, config.preferences.answers
    limits = json.loads((task / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(inputs["writer"] / "model")
    model = loading.load_language_model(inputs["writer"] / "model", runtime.device)
    prompts = read_table(task / "prompts.parquet")
    rng = np.random.default_rng(seed)
    wanted = {
        "train": config.preferences.pairs // config.preferences.pairs_of_prompt,
        "heldout": HELDOUT_PAIRS,
    }
    asked = pa.concat_tables(
        _draw(prompts.filter(pc.equal(prompts["split"], split)), number, rng)
        for split, number in wanted.items()
    )
    with Metrics(out, len(asked)) as metrics:
        ids = tokenization.prompts_ids(tokenizer, asked["messages"].to_pylist(), limits["prompt_tokens"])
        generator = torch.Generator(runtime.device).manual_seed(seed)
        answers = sampling.sample(model, ids, count, limits["answer_tokens"], generator).tokens()
        metrics.progress(len(asked))
    rows = pa.table(
        {
            "prompt_id": np.repeat(asked["prompt_id"].to_numpy(), count),
            "text": [tokenization.answer_text(tokenizer, a) for a in answers],
            "token_ids": answers,
            "finished": [a[-1] == tokenizer.eos_token_id for a in answers],
        }
    )
    tokenizer.save_pretrained(out / "tokenizer")  # whose token ids these are
    value = gold(task, inputs.get("gold"), out / "tokenizer", runtime)(rows)
    if not np.isfinite(value["gold"]).all():
        raise FloatingPointError("gold gave an answer a number that is not finite; no pair was labelled")
    seen = {**value, **labeler_features(task)(rows), "tokens": np.array([len(a) for a in answers], float)}
    seen = {name: numbers.reshape(-1, count) for name, numbers in seen.items()}
    share = prefers_first(config.labeler, seen, rng)
    first = settled(share, rng)
    votes = np.where(first, share, 1 - share)
    soft = isinstance(config.labeler, Unsure) and config.labeler.soft
    label = votes if soft else np.ones_like(votes)
    compared = _pairs(asked, wanted["train"], count)
    write_table(out / "pairs.parquet", _table(asked, rows, seen["gold"], compared, first, votes, label))


def _draw(prompts: pa.Table, count: int, rng) -> pa.Table:
    """`count` prompts, as evenly over all of them as it goes."""
    import numpy as np

    rounds = -(-count // len(prompts))
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(rounds)])
    return prompts.take(order[:count])


def _pairs(asked: pa.Table, train: int, answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and pair of everything that is compared: all pairs in training, the first one of held-out questions."""
    import numpy as np

    from rlhf_lab.scoring.labelers import pairs_of

    ranking, pair = np.divmod(np.arange(len(asked) * len(pairs_of(answers)[0])), len(pairs_of(answers)[0]))
    kept = (ranking < train) | (pair == 0)
    return ranking[kept], pair[kept]


def _table(
    asked: pa.Table,
    rows: pa.Table,
    value: np.ndarray,
    compared: tuple[np.ndarray, np.ndarray],
    first: np.ndarray,
    votes: np.ndarray,
    label: np.ndarray,
) -> dict:
    import numpy as np

    from rlhf_lab.scoring.labelers import pairs_of

    answers = value.shape[1]
    ranking, pair = compared
    sides = np.stack(pairs_of(answers))[:, pair]  # (2, P) places among a prompt's answers
    wins = first[ranking, pair]
    chosen, rejected = np.where(wins, sides, sides[::-1])
    margin = value[ranking, chosen] - value[ranking, rejected]
    named = {
        f"{side}{suffix}": rows[column].take(ranking * answers + place)
        for side, place in (("chosen", chosen), ("rejected", rejected))
        for suffix, column in (("", "text"), ("_ids", "token_ids"))
    }
    kept = {
        name: asked[name].take(ranking)
        for name in ("prompt_id", "question_id", "family", "split", "messages")
    }
    return {
        **kept,
        **named,
        "ranking": ranking.astype(np.int32),
        "chosen_place": chosen.astype(np.int8),
        "rejected_place": rejected.astype(np.int8),
        "margin": margin.astype(np.float32),
        "tied": margin == 0,
        "first": wins,
        "label": label[ranking, pair].astype(np.float32),
        "votes": votes[ranking, pair].astype(np.float32),
    }
