"""Curves of single runs, read from their rows.

Runs that choose from one table of answers share what is read and computed: tables that one reward model or another
scored have the same answers, and so the same likeness of answers to each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.best_of_n import selection
from analysis.best_of_n.answer_table import in_order, same_count, starts
from analysis.best_of_n.curves import Curves, checkpoint_curves
from analysis.best_of_n.estimator import Ranking, rank, ranked_curves, tie_averaged
from analysis.best_of_n.initial_policy import InitialScales
from analysis.best_of_n.mbr_utility import like_others
from analysis.best_of_n.selection import Rule
from analysis.runs.configuration import Unsuited, is_a
from rlhf_lab.functional.intervals import cluster_means
from rlhf_lab.store.records import SAMPLED, Run

NEW = "new_animal"  # the family of prompts about subjects that no comparison is about
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def chooses(run: Run) -> bool:
    """Return whether the run chooses from one table of answers of the initial policy."""
    return run.method in selection.METHODS


def curves_of(run: Run, initial: InitialScales | None = None, unseen: bool = False) -> Curves:
    """Return the curves of one run; `initial` scales those of a trained policy, `unseen` is as in `answers`."""
    if chooses(run):
        return chosen_curves([run], unseen)[0]
    return checkpoint_curves(rows_of(run, ["checkpoint", "kl"], unseen), initial)


def chosen_curves(runs: Sequence[Run], unseen: bool = False) -> list[Curves]:
    """Return the curves of `runs` that choose, in their order; what runs of one table share is computed once."""
    places: dict[str, list[int]] = {}  # a table of scored answers -> the places of its runs
    for place, run in enumerate(runs):
        places.setdefault(_contents(run), []).append(place)
    samples = {_contents(run, SAMPLED): run for run in runs if run.method == selection.LIKENESS}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the work is numpy's
        like = partial(_likeness, unseen=unseen)
        likeness = dict(zip(samples, pool.map(like, samples.values()), strict=True))

        def curves_of_table(places: Sequence[int]) -> list[Curves]:
            """Return the curves of the runs at these places, which share one table of answers."""
            first = runs[places[0]]
            rules = [Rule(runs[place].method, runs[place].config["policy"]) for place in places]
            rows = rows_of(first, unseen=unseen)
            return selection.rules_curves(rows, rules, likeness.get(_contents(first, SAMPLED)))

        by_place: dict[int, Curves] = {}
        for table, curves in zip(places.values(), pool.map(curves_of_table, places.values()), strict=True):
            by_place.update(zip(table, curves, strict=True))
    return [by_place[place] for place in range(len(runs))]


def _contents(run: Run, *inputs: str) -> str:
    """Return what tells apart the contents of a run's inputs, of those named or of all."""
    manifest = run.manifest()
    origins = [
        (name, manifest["inputs"][name], manifest["made_from"][name])
        for name in inputs or sorted(manifest["inputs"])
    ]
    return json.dumps([str(run.root), origins])


def _likeness(run: Run, unseen: bool) -> Floats:
    rows = in_order(answers(run, ["prompt_id", "question_id", "token_ids"], unseen))
    return like_others(rows["token_ids"], same_count(starts(rows), rows.num_rows, "the table of SFT answers"))


def rows_of(run: Run, more: Sequence[str] = (), unseen: bool = False) -> pa.Table:
    """Return the columns that curves need, `more` of them, and the parts of gold if it has parts."""
    needed = ["prompt_id", "question_id", "finished", "gold", "proxy", *more]
    try:
        return answers(run, [*needed, "gold.content", "gold.form"], unseen)
    except KeyError:  # gold is a trained model
        pass
    try:
        return answers(run, needed, unseen)
    except KeyError as missing:
        raise ValueError(missing.args[0]) from None


def answers(run: Run, columns: Sequence[str], unseen: bool = False) -> pa.Table:
    """Return the columns of a run's answers.

    In a task with animals that no comparison and no training prompt is about, the answers about the others, or only
    those about the new animals if `unseen`. In any other task, all answers; none are `unseen`.
    """
    if not is_a(run, "task", "FieldGuide"):
        if unseen:
            raise Unsuited("only task=field_guide has subjects that no comparison is about: choose its runs")
        return run.rows(columns)
    rows = run.rows([*columns, "family"])
    kept = pc.field("family") == NEW if unseen else pc.field("family") != NEW
    return rows.filter(kept).drop_columns([] if "family" in columns else ["family"])


# --- prompt by prompt -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptCurves:
    """The answers of one run, in order, and the prompts they are to."""

    rows: pa.Table  # A rows
    begin: Ints  # (S,) where the answers to each prompt at each checkpoint begin
    points: Ints  # (K,) n, or checkpoints

    @property
    def trained(self) -> bool:
        """Whether these are a trained policy's answers, not a table of SFT's."""
        return "checkpoint" in self.rows.column_names

    @property
    def prompt(self) -> Ints:
        """(P,) prompt_id."""
        return self._of_prompts("prompt_id").astype(np.int64)

    @property
    def question(self) -> Ints:
        """(P,) question_id of each prompt."""
        return self._of_prompts("question_id").astype(np.int64)

    @property
    def family(self) -> NDArray[np.str_]:
        """(P,) family of each prompt, where the column was read."""
        return self._of_prompts("family").astype(str)

    @property
    def sft(self) -> NDArray[np.bool_]:
        """(A,): which answers are the initial policy's."""
        if not self.trained:
            return np.ones(self.rows.num_rows, dtype=bool)
        return self.rows["checkpoint"].to_numpy() == 0

    def number(self, name: str) -> Floats:
        """(A,): a column."""
        return self.rows[name].to_numpy().astype(float)

    def means(self, values: Floats) -> Floats:
        """(P, K): the expected value (A,) of an answer to each prompt."""
        if not self.trained:
            count = len(values) // len(self.begin)
            return ranked_curves(tie_averaged(self._ranking, values.reshape(-1, count)), self.points)
        means = np.add.reduceat(values, self.begin) / np.diff(self.begin, append=len(values))
        return means.reshape(len(self.points), -1).T

    def by_question(self, values: Floats) -> Floats:
        """(C, K): the mean of `means` over the prompts of each question."""
        return cluster_means(self.means(values), self.question)

    @cached_property
    def _ranking(self) -> Ranking:
        count = same_count(self.begin, self.rows.num_rows, "the table of SFT answers")
        return rank(self.rows["proxy"].to_numpy().reshape(-1, count))

    def _of_prompts(self, column: str) -> NDArray:
        """Of each of P prompts: of a trained policy, where its answers begin at the first checkpoint."""
        first = self.begin[: len(self.begin) // len(self.points)] if self.trained else self.begin
        return self.rows[column].take(pa.array(first)).to_numpy(zero_copy_only=False)


def prompt_curves(run: Run, columns: Sequence[str], points: Ints) -> PromptCurves:
    """Read `columns` of a run whose curves have these points; KeyError names a column that is nowhere."""
    needed = ["prompt_id", "question_id", "proxy" if chooses(run) else "checkpoint", *columns]
    rows = in_order(answers(run, list(dict.fromkeys(needed))))
    return PromptCurves(rows, starts(rows), points)
