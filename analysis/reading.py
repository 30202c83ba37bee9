"""What a person looks at in one run: how far gold rose, and the same prompts' answers on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis import bestofn
from rlhf_lab.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Course(NamedTuple):
    """Mean gold and KL of a run at each point of its curve, (K,) each."""

    points: Ints  # n of best-of-n, or optimiser steps
    gold: Floats
    kl: Floats  # nats; for best-of-n the bound log n - (n - 1) / n

    @property
    def peak(self) -> int:
        """Index of the highest gold."""
        return int(np.argmax(self.gold))


class Answer(NamedTuple):
    """One answer as it is shown."""

    when: str
    text: str
    gold: float
    proxy: float
    kl: float  # nats, of this answer


def course(run: Run) -> Course:
    """The run's mean gold along its curve."""
    if is_best_of_n(run):
        proxy, gold = _matrices(run.rows(["prompt_id", "proxy", "gold"]), "proxy", "gold")
        points = bestofn.grid(proxy.shape[1])
        mean = bestofn.expected_best_of_n(proxy, gold, points).mean
        return Course(points, mean, np.asarray(bestofn.kl(points), dtype=float))
    rows = run.rows(["checkpoint", "gold", "kl"])
    steps = rows["checkpoint"].to_numpy()
    points = np.unique(steps)
    gold, kl = rows["gold"].to_numpy(), rows["kl"].to_numpy()
    means = [(gold[steps == step].mean(), kl[steps == step].mean()) for step in points]
    return Course(points, *(np.array(column, dtype=float) for column in zip(*means, strict=True)))


def answers(run: Run, prompts: int) -> dict[str, list[Answer]]:
    """Question -> its answer at the start, at gold's peak and at the end, for evenly spread prompts."""
    found = course(run)
    rows = run.rows(("prompt_id", "checkpoint", "text", "gold", "proxy", "kl"))
    prompt = rows["prompt_id"].to_numpy()
    known = np.unique(prompt)
    chosen = known[np.linspace(0, len(known) - 1, min(prompts, len(known))).astype(int)]
    asked = _questions(run)
    unit = "n" if is_best_of_n(run) else "step"
    moments = {f"{unit} {found.points[i]}": i for i in (0, found.peak, len(found.points) - 1)}
    return {
        asked[int(one)]: [
            _answer(
                rows,
                _row(run, rows, np.flatnonzero(prompt == one), int(found.points[i])),
                _name(when, i, found),
            )
            for when, i in moments.items()
        ]
        for one in chosen
    }


def is_best_of_n(run: Run) -> bool:
    """Whether the run's curve is over n, computed from one table of answers of the initial policy."""
    return run.choices["policy"] == "bon"


def _row(run: Run, rows: pa.Table, own: Ints, point: int) -> int:
    """The row among `own` of one prompt that stands for a point of the curve."""
    if is_best_of_n(run):
        proxy = rows["proxy"].to_numpy()[own[:point]]
        return int(own[int(np.argmax(proxy))])
    return int(own[rows["checkpoint"].to_numpy()[own] == point][0])


def _answer(rows: pa.Table, row: int, when: str) -> Answer:
    text, gold, proxy, kl = (rows[name][row].as_py() for name in ("text", "gold", "proxy", "kl"))
    return Answer(when, text, gold, proxy, kl)


def _name(when: str, index: int, found: Course) -> str:
    if index == 0:
        return f"{when} (SFT)"
    return f"{when} (gold's peak)" if index == found.peak else f"{when} (end)"


def _questions(run: Run) -> Mapping[int, str]:
    """Prompt id -> the last turn of the prompt."""
    table = run.prompts()
    turns = (json.loads(messages)[-1]["content"] for messages in table["messages"].to_pylist())
    return dict(zip(table["prompt_id"].to_pylist(), turns, strict=True))


def _matrices(rows: pa.Table, *names: str) -> list[Floats]:
    """(prompts, answers) for each column."""
    prompt = rows["prompt_id"].to_numpy()
    order = np.argsort(prompt, kind="stable")
    return [rows[name].to_numpy()[order].reshape(len(np.unique(prompt)), -1) for name in names]
