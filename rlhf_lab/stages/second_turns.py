"""Are you sure? A policy's own first answers, doubted and, as a control, asked for again (2310.13548, section 3.2).

Of every held-out question one plain prompt. Each first answer gets both second turns, so that what a doubt changes is
told from what changes whenever a policy speaks twice. Nothing is read from the answers here: that is gold's.
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
SEPARATE = 16  # answers to each question apart from those that are doubted: what the model knows
PORTION = 16  # questions between two reports of progress


@dataclass(slots=True)
class SecondTurns:
    """Of SFT and of a policy."""

    seed: int
    samples: int  # first answers to each question
    best_of: int  # answers of which the proxy chooses in each turn, if there is one


class Answers(NamedTuple):
    """Answers to dialogues, those to one dialogue after the other."""

    token_ids: list[list[int]]
    text: list[str]
    finished: list[bool]

    def take(self, rows: Sequence[int]) -> Answers:
        """These answers, in this order."""
        return Answers(
            [self.token_ids[row] for row in rows],
            [self.text[row] for row in rows],
            [self.finished[row] for row in rows],
        )


Speaker = Callable[[Sequence[str], int], Answers]  # dialogues (JSON), answers to each


def run(config: SecondTurns, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Ask SFT, then the policy (the model in `policy`; else the best of n SFT answers by `proxy`); `samples.parquet`
    with one row an answer, and the tokenizer whose ids it holds.
    """
    import torch

    from rlhf_lab.models import tokenization
    from rlhf_lab.store.records import SAMPLES, write_parts

    task, sft, generator = inputs["task"], inputs["sft"], torch.Generator(runtime.device)
    generator.manual_seed(config.seed)
    asked = questions(task)
    model = sampled(inputs.get("policy", sft) / "model", task, generator, runtime)
    optimised = model if "policy" in inputs else chosen(model, config.best_of, inputs, runtime)
    turns = [  # whether optimised, how the model answers by itself, how each turn is answered
        (False, *[sampled(sft / "model", task, generator, runtime)] * 2),
        (True, model, optimised),
    ]

    def portions(metrics: Metrics) -> Iterator[dict[str, Any]]:
        """Columns of some first answers and their second turns at a time."""
        for number, (is_optimised, alone, speaker) in enumerate(turns):
            for start in range(0, len(asked), PORTION):
                portion = asked.slice(start, PORTION)
                yield columns(portion, alone, speaker, config.samples, is_optimised)
                metrics.progress(number * len(asked) + start + len(portion))

    with Metrics(out, len(turns) * len(asked)) as metrics:
        write_parts(out / SAMPLES, portions(metrics))
    tokenization.load_tokenizer(sft / "model").save_pretrained(out / "tokenizer")


def questions(task: Path) -> pa.Table:
    """One plain prompt of every held-out question, the same for every policy and seed."""
    import numpy as np
    import pyarrow.compute as pc

    from rlhf_lab.store.records import read_table

    table = read_table(task / "prompts.parquet")
    plain = pc.field("family").isin(PLAIN) & (pc.field("split") == "heldout")
    table = table.filter(plain)
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    _, first = np.unique(table["question_id"].to_numpy(), return_index=True)
    return table.take(first)


def sampled(folder: Path, task: Path, generator: torch.Generator, runtime: Runtime) -> Speaker:
    """The language model in `folder`."""
    import json

    from rlhf_lab.models import loading, sampling, tokenization

    limits = json.loads((task / "task.json").read_text())
    tokenizer, room = tokenization.load_tokenizer(folder), limits["prompt_tokens"]
    model = loading.load_language_model(folder, runtime.device)

    def answers(dialogues: Sequence[str], count: int) -> Answers:
        """`count` answers of the model to each dialogue; ValueError where one is too long to be read."""
        ids = tokenization.prompts_ids(tokenizer, dialogues, room + 1)
        if (longest := max(map(len, ids))) > room:
            raise ValueError(
                f"a dialogue has {longest} tokens or more, task.prompt_tokens={room} are read: raise it"
            )
        found = sampling.sample(model, ids, count, limits["answer_tokens"], generator)
        tokens = found.tokens()
        texts = [tokenization.answer_text(tokenizer, answer) for answer in tokens]
        return Answers(tokens, texts, found.finished.tolist())

    return answers


def chosen(model: Speaker, n: int, inputs: Mapping[str, Path], runtime: Runtime) -> Speaker:
    """The answer with the highest reward by the proxy among `n` of the model's; of equal ones the first."""
    from rlhf_lab.models import tokenization
    from rlhf_lab.scoring.reward_models import rewards_of_dialogues

    writer = tokenization.load_tokenizer(inputs["sft"] / "model")
    rewards = rewards_of_dialogues(inputs["task"], inputs["proxy"], writer, runtime)

    def answers(dialogues: Sequence[str], count: int) -> Answers:
        """`count` answers to each dialogue, each the best of n by its reward."""
        all_of_them = model(dialogues, count * n)
        asked = [dialogue for dialogue in dialogues for _ in range(count * n)]
        best = rewards(asked, all_of_them.text, all_of_them.token_ids).reshape(-1, n).argmax(axis=1)
        return all_of_them.take([place * n + row for place, row in enumerate(best.tolist())])

    return answers


def columns(
    asked: pa.Table, alone: Speaker, speaker: Speaker, samples: int, optimised: bool
) -> dict[str, Any]:
    """Columns of samples.parquet: of some questions the separate answers, then both second turns after `samples` first
    answers, which are the same in both.
    """
    from rlhf_lab.scoring.samples import concatenated
    from rlhf_lab.tasks.synthetic_assistant.phrases import AGAIN, CHALLENGE

    messages = asked["messages"].to_pylist()
    separate, first = alone(messages, SEPARATE), speaker(messages, samples)
    parts = [_rows(asked, "alone", [""] * len(separate.text), separate)]
    for turn, said in (("challenge", CHALLENGE), ("again", AGAIN)):
        openings = [opening for opening in messages for _ in range(samples)]
        dialogues = [followed(*pair, said) for pair in zip(openings, first.text, strict=True)]
        parts.append(_rows(asked, turn, first.text, speaker(dialogues, 1)))
    found = concatenated(parts)
    return found | {"optimised": [optimised] * len(found["text"])}


def followed(messages: str, answer: str, said: str) -> str:
    """A dialogue (JSON) after an answer of the assistant's and a second turn of the user's."""
    import json

    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": said}]
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
