"""The stage `preferences`: answers to the same prompts, compared pair by pair by a labeler.

The inputs are the task, the model that writes the answers and, for real data, the gold reward model. The stage leaves
`pairs.parquet`, from which reward models learn and on whose held-out pairs they are judged, and the writer's
`tokenizer/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.labelers import Labeler, Preferences, Unsure
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.gold import CHANGES as GOLD_CHANGES
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


VERSION = 2 + GOLD_CHANGES  # rankings; the writer of the answers
HELDOUT_PAIRS = 1000  # about held-out questions; no model trains on them


@dataclass(slots=True)
class Labelled:
    """The configuration of the stage: how many pairs there are, and who labels them."""

    preferences: Preferences
    labeler: Labeler


def run(config: Labelled, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample answers to prompts, score them with gold, let the labeler compare them, and write the pairs."""
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
    training_prompts = config.preferences.pairs // config.preferences.pairs_of_prompt
    counts = {"train": training_prompts, "heldout": HELDOUT_PAIRS}
    asked = pa.concat_tables(
        _draw(prompts.filter(pc.equal(prompts["split"], split)), prompt_count, rng)
        for split, prompt_count in counts.items()
    )
    with Metrics(out, len(asked)) as metrics:
        ids = tokenization.prompts_ids(tokenizer, asked["messages"].to_pylist(), limits["prompt_tokens"])
        generator = torch.Generator(runtime.device).manual_seed(seed)
        answers = sampling.sample(model, ids, count, limits["answer_tokens"], generator).tokens()
        metrics.progress(len(asked))
    rows = pa.table(
        {
            "prompt_id": np.repeat(asked["prompt_id"].to_numpy(), count),
            "text": [tokenization.answer_text(tokenizer, answer) for answer in answers],
            "token_ids": answers,
            "finished": [answer[-1] == tokenizer.eos_token_id for answer in answers],
        }
    )
    tokenizer.save_pretrained(out / "tokenizer")
    scores = gold(task, inputs.get("gold"), out / "tokenizer", runtime)(rows)
    if not np.isfinite(scores["gold"]).all():
        raise FloatingPointError("gold gave an answer a number that is not finite; no pair was labelled")
    tokens = np.array([len(answer) for answer in answers], float)
    features = scores | labeler_features(task)(rows) | {"tokens": tokens}
    seen = {name: values.reshape(-1, count) for name, values in features.items()}
    share = prefers_first(config.labeler, seen, rng)
    first = settled(share, rng)
    votes = np.where(first, share, 1 - share)
    soft = isinstance(config.labeler, Unsure) and config.labeler.soft
    label = votes if soft else np.ones_like(votes)
    compared = _pairs(asked, training_prompts, count)
    write_table(out / "pairs.parquet", _table(asked, rows, seen["gold"], compared, first, votes, label))


def _draw(prompts: pa.Table, count: int, rng) -> pa.Table:
    """Draw `count` prompts, each as often as any other or once more."""
    import numpy as np

    rounds = -(-count // len(prompts))
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(rounds)])
    return prompts.take(order[:count])


def _pairs(asked: pa.Table, train: int, answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of the prompt and the number of the pair, (P,) each, of all that is compared.

    These are all pairs of training prompts, and the first pair of held-out ones.
    """
    import numpy as np

    from rlhf_lab.scoring.labelers import pairs_of

    pairs = len(pairs_of(answers)[0])
    ranking, pair = np.divmod(np.arange(len(asked) * pairs), pairs)
    kept = (ranking < train) | (pair == 0)
    return ranking[kept], pair[kept]


def _table(
    asked: pa.Table,
    rows: pa.Table,
    gold: np.ndarray,
    compared: tuple[np.ndarray, np.ndarray],
    first: np.ndarray,
    votes: np.ndarray,
    label: np.ndarray,
) -> dict:
    """Return the columns of `pairs.parquet`; `gold` is (N, K), `first`, `votes` and `label` are (N, P) arrays."""
    import numpy as np

    from rlhf_lab.scoring.labelers import pairs_of

    answers = gold.shape[1]
    ranking, pair = compared
    sides = np.stack(pairs_of(answers))[:, pair]  # (2, P) places among a prompt's answers
    wins = first[ranking, pair]
    chosen, rejected = np.where(wins, sides, sides[::-1])
    margin = gold[ranking, chosen] - gold[ranking, rejected]
    chosen_row, rejected_row = ranking * answers + chosen, ranking * answers + rejected
    of_prompt = ("prompt_id", "question_id", "family", "split", "messages")
    return {
        **{name: asked[name].take(ranking) for name in of_prompt},
        "chosen": rows["text"].take(chosen_row),
        "chosen_ids": rows["token_ids"].take(chosen_row),
        "rejected": rows["text"].take(rejected_row),
        "rejected_ids": rows["token_ids"].take(rejected_row),
        "ranking": ranking.astype(np.int32),
        "chosen_place": chosen.astype(np.int8),
        "rejected_place": rejected.astype(np.int8),
        "margin": margin.astype(np.float32),
        "tied": margin == 0,
        "first": wins,
        "label": label[ranking, pair].astype(np.float32),
        "votes": votes[ranking, pair].astype(np.float32),
    }
