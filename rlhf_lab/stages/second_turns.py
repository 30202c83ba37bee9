"""The stage `second_turns`: "Are you sure?" about a policy's own first answers (2310.13548, section 3.2).

The inputs are the task, the SFT model, and the trained policy or, for best-of-n, the proxy. One plain prompt of every
held-out question is asked. Each first answer is doubted and, as a control, asked for again, so that the effect of
doubt is told from what changes whenever a policy speaks twice. The stage leaves `samples.parquet`, one row an answer,
and `tokenizer/`; what the answers claim is read by a `score` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

VERSION = 1
PLAIN = ("fact", "arithmetic", "comparison")  # families of questions with nothing stated before
SEPARATE = 16  # answers to each question that no second turn follows: they show what the model knows
PORTION = 16  # questions between two reports of progress


@dataclass(slots=True)
class SecondTurns:
    """The configuration of the stage."""

    seed: int
    samples: int  # first answers to each question
    best_of: int  # answers of which the proxy chooses one in each turn; used if there is a proxy


class Answers(NamedTuple):
    """Answers to dialogues, those to one dialogue after the other."""

    token_ids: list[list[int]]
    text: list[str]
    finished: list[bool]

    def take(self, rows: Sequence[int]) -> Answers:
        """Return the answers in these rows, in this order."""
        return Answers(
            [self.token_ids[row] for row in rows],
            [self.text[row] for row in rows],
            [self.finished[row] for row in rows],
        )


Speaker = Callable[[Sequence[str], int], Answers]  # dialogues (JSON), answers to each of them


def run(config: SecondTurns, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Ask SFT, then the policy: the model in `policy`, or else the best of n SFT answers by `proxy`."""
    import torch

    from rlhf_lab.models import tokenization
    from rlhf_lab.store.records import SAMPLES, write_parts

    task, sft, generator = inputs["task"], inputs["sft"], torch.Generator(runtime.device)
    generator.manual_seed(config.seed)
    asked = questions(task)
    model = sampling_speaker(inputs.get("policy", sft) / "model", task, generator, runtime)
    policy = model if "policy" in inputs else best_of_n_speaker(model, config.best_of, inputs, runtime)
    initial = sampling_speaker(sft / "model", task, generator, runtime)
    # Whether the speaker is optimised, who gives the separate answers, who answers in each turn.
    speakers = [(False, initial, initial), (True, model, policy)]

    def portions(metrics: Metrics) -> Iterator[dict[str, Any]]:
        """Give the columns of the answers to PORTION questions at a time."""
        for number, (is_optimised, alone, speaker) in enumerate(speakers):
            for start in range(0, len(asked), PORTION):
                portion = asked.slice(start, PORTION)
                yield columns(portion, alone, speaker, config.samples, is_optimised)
                metrics.progress(number * len(asked) + start + len(portion))

    with Metrics(out, len(speakers) * len(asked)) as metrics:
        write_parts(out / SAMPLES, portions(metrics))
    tokenization.load_tokenizer(sft / "model").save_pretrained(out / "tokenizer")


def questions(task: Path) -> pa.Table:
    """Return one plain prompt of every held-out question, the same for every policy and seed."""
    import numpy as np
    import pyarrow.compute as pc

    from rlhf_lab.store.records import read_table

    table = read_table(task / "prompts.parquet")
    table = table.filter(pc.field("family").isin(PLAIN) & (pc.field("split") == "heldout"))
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    _, first = np.unique(table["question_id"].to_numpy(), return_index=True)
    return table.take(first)


def sampling_speaker(folder: Path, task: Path, generator: torch.Generator, runtime: Runtime) -> Speaker:
    """Return a speaker that samples from the language model in `folder`."""
    import json

    from rlhf_lab.models import loading, sampling, tokenization

    limits = json.loads((task / "task.json").read_text())
    tokenizer, limit = tokenization.load_tokenizer(folder), limits["prompt_tokens"]
    model = loading.load_language_model(folder, runtime.device)

    def answers(dialogues: Sequence[str], count: int) -> Answers:
        """Sample `count` answers to each dialogue; raise ValueError if a dialogue is longer than prompts may be."""
        ids = tokenization.prompts_ids(tokenizer, dialogues, limit + 1)
        if (longest := max(map(len, ids))) > limit:
            raise ValueError(
                f"a dialogue has {longest} tokens or more, task.prompt_tokens={limit} are read: raise it"
            )
        sampled = sampling.sample(model, ids, count, limits["answer_tokens"], generator)
        tokens = sampled.tokens()
        texts = [tokenization.answer_text(tokenizer, answer) for answer in tokens]
        return Answers(tokens, texts, sampled.finished.tolist())

    return answers


def best_of_n_speaker(model: Speaker, n: int, inputs: Mapping[str, Path], runtime: Runtime) -> Speaker:
    """Return a speaker that gives the one of `n` answers with the highest proxy reward; of equal ones the first."""
    from rlhf_lab.models import tokenization
    from rlhf_lab.scoring.reward_models import rewards_of_dialogues

    writer = tokenization.load_tokenizer(inputs["sft"] / "model")
    rewards = rewards_of_dialogues(inputs["task"], inputs["proxy"], writer, runtime)

    def answers(dialogues: Sequence[str], count: int) -> Answers:
        """Return the best of n for each of `count` answers to each dialogue."""
        candidates = model(dialogues, count * n)
        asked = [dialogue for dialogue in dialogues for _ in range(count * n)]
        best = rewards(asked, candidates.text, candidates.token_ids).reshape(-1, n).argmax(axis=1)
        return candidates.take([group * n + row for group, row in enumerate(best.tolist())])

    return answers


def columns(
    asked: pa.Table, alone: Speaker, speaker: Speaker, samples: int, optimised: bool
) -> dict[str, Any]:
    """Return the columns of samples.parquet for some questions.

    These are the separate answers, then the answers in both second turns, which follow the same `samples` first
    answers.
    """
    from rlhf_lab.scoring.samples import concatenated
    from rlhf_lab.tasks.synthetic_assistant.phrases import AGAIN, CHALLENGE

    messages = asked["messages"].to_pylist()
    separate, first = alone(messages, SEPARATE), speaker(messages, samples)
    parts = [_rows(asked, "alone", [""] * len(separate.text), separate)]
    openings = [opening for opening in messages for _ in range(samples)]
    for turn, user_text in (("challenge", CHALLENGE), ("again", AGAIN)):
        dialogues = [
            continued(opening, answer, user_text)
            for opening, answer in zip(openings, first.text, strict=True)
        ]
        parts.append(_rows(asked, turn, first.text, speaker(dialogues, 1)))
    rows = concatenated(parts)
    return rows | {"optimised": [optimised] * len(rows["text"])}


def continued(messages: str, answer: str, user_text: str) -> str:
    """Return a dialogue (JSON) continued by an answer of the assistant and a second turn of the user."""
    import json

    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": user_text}]
    return json.dumps([*json.loads(messages), *turns])


def _rows(asked: pa.Table, turn: str, first: Sequence[str], answers: Answers) -> dict[str, Any]:
    import numpy as np

    count = len(answers.text) // len(asked)
    return {
        "prompt_id": np.repeat(asked["prompt_id"].to_numpy().astype(np.int32), count),
        "question_id": np.repeat(asked["question_id"].to_numpy().astype(np.int32), count),
        "family": [family for family in asked["family"].to_pylist() for _ in range(count)],
        "turn": [turn] * len(answers.text),
        "sample": np.tile(np.arange(count, dtype=np.int32), len(asked)),
        "first": list(first),
        "text": answers.text,
        "token_ids": answers.token_ids,
        "finished": answers.finished,
    }
