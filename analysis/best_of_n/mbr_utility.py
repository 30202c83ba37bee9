"""The likeness of an answer to the other answers to its prompt: the utility of minimum-Bayes-risk best-of-n
(2404.01054).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from analysis.best_of_n.answer_table import within_sd

Floats = NDArray[np.float64]

PORTION = 1 << 16  # answers whose token counts are in memory at once


def like_others(token_ids: pa.ChunkedArray, answers: int) -> Floats:
    """Return the `likeness` in SDs within prompts, (Q, N), with the counts of a few prompts in memory at a time."""
    rows = max(PORTION // answers, 1) * answers
    parts = [likeness(token_ids.slice(start, rows), answers) for start in range(0, len(token_ids), rows)]
    like = np.concatenate(parts)
    return like / within_sd(like)


def likeness(token_ids: pa.ChunkedArray, answers: int) -> Floats:
    """Return the cosine of each answer's token counts with the mean of its prompt's N normalised counts, (Q, N).

    Up to one factor for each prompt it is the mean of the pairwise cosines, in a time that grows with N and not with
    its square. An answer without tokens has 0.
    """
    tokens = token_ids.combine_chunks()
    flat, ends = tokens.flatten().to_numpy(), tokens.value_lengths().to_numpy().cumsum()
    starts = np.concatenate([[0], ends])
    counts = sparse.csr_matrix((np.ones(len(flat)), flat, starts), copy=True)
    counts.sum_duplicates()
    unit = sparse.diags_array(1 / np.maximum(_norms(counts), 1)) @ counts  # a norm is 0 or at least 1
    prompts = counts.shape[0] // answers
    member = np.repeat(np.arange(prompts), answers)
    of_prompt = sparse.csr_matrix((np.full(len(member), 1 / answers), (member, np.arange(len(member)))))
    mean = (of_prompt @ unit).tocsr()
    per_answer = np.asarray(unit.multiply(mean[member]).sum(axis=1)).ravel()
    return per_answer.reshape(prompts, answers) / np.maximum(_norms(mean), np.finfo(float).tiny)[:, None]


def _norms(rows: sparse.csr_matrix) -> Floats:
    return np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
