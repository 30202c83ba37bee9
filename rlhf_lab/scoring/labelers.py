"""Who says which answer of a pair is better: the labeler's utility, then its noise.

Labelers compare K answers to each of N prompts, all P = K (K - 1) / 2 pairs of a prompt, in the order of
`pairs_of(K)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from itertools import combinations

import numpy as np

from rlhf_lab.config.labelers import (
    Biased,
    Boltzmann,
    Cautious,
    Confident,
    Flawed,
    Flip,
    GoldArgmax,
    Labeler,
    Length,
    Limited,
    Mixture,
    Pool,
    Sycophantic,
    Vulnerable,
)

Seen = Mapping[str, np.ndarray]  # of every answer, (N, K)


@singledispatch
def prefers_first(labeler: Labeler, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The share of preference for the first of each pair, (N, P) in [0, 1]: 1 or 0 of who is sure, 0.5 of who is not.

    `seen` has (N, K) arrays of what the answers are: `gold`, `gold.<part>`, `tokens`; of the embedded task also
    `behaviour.<name>`, `believed` (gold of who takes what sounds sure for right), `difficulty` and `user.<tone>`
    (whether the user states a belief in that tone).
    """
    raise TypeError(f"no labels from a {type(labeler).__name__}: register one with prefers_first.register")


def pairs_of(answers: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second answer of each pair of K, (P,) twice."""
    first, second = zip(*combinations(range(answers), 2), strict=True)
    return np.array(first), np.array(second)


def settled(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether the first is preferred by more than half, bool; a coin decides where they are even."""
    coin = rng.random(share.shape) < 0.5
    return np.where(share == 0.5, coin, share > 0.5)


@prefers_first.register
def _(labeler: GoldArgmax, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The answer with the higher gold (2210.10760, section 2.2)."""
    return 0.5 + 0.5 * np.sign(_gaps(seen["gold"]))


@prefers_first.register
def _(labeler: Boltzmann, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Bradley-Terry: P(first) = sigmoid((gold_0 - gold_1) / temperature); of K answers a ranking by Plackett-Luce."""
    if labeler.soft:
        return _sigmoid(_gaps(seen["gold"]) / labeler.temperature)
    return _ranked(seen["gold"] / labeler.temperature, rng)


@prefers_first.register
def _(labeler: Flip, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The better answer, with a share of the labels turned round (2310.02743, section 4)."""
    better = settled(prefers_first(GoldArgmax(), seen, rng), rng)
    return (better ^ (rng.random(better.shape) < labeler.rate)).astype(float)


@prefers_first.register
def _(labeler: Pool, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The share of votes; each annotator who is asked about a prompt ranks all of its answers."""
    parts = [name for name in seen if name.startswith("gold.") and name not in ("gold.content", "gold.form")]
    standard = np.stack([_standard(seen[name]) for name in (*parts, "tokens")], axis=-1)  # (N, K, parts)
    weights = labeler.bias * rng.standard_normal((labeler.annotators, standard.shape[-1]))
    asked = rng.random((len(standard), labeler.annotators)).argsort(axis=1)[:, : labeler.votes]
    worth = seen["gold"][..., None] + np.einsum("nkp,nvp->nkv", standard, weights[asked])
    votes = [_ranked(worth[..., vote] / labeler.temperature, rng) for vote in range(labeler.votes)]
    return np.mean(votes, axis=0)


@prefers_first.register
def _(labeler: Biased, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The answer with the higher utility, or one drawn by Bradley-Terry."""
    worth = utility(labeler, seen)
    if labeler.temperature == 0:
        return 0.5 + 0.5 * np.sign(_gaps(worth))
    return _ranked(worth / labeler.temperature, rng)


@prefers_first.register
def _(labeler: Mixture, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Each prompt is judged by one of the two."""
    shares = [prefers_first(one, seen, rng) for one in (labeler.first, labeler.second)]
    return np.where(_drawn(labeler, len(shares[0]), rng), shares[1], shares[0])


@prefers_first.register
def _(labeler: Vulnerable, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """The second judges prompts of the vulnerable alone (2411.02306)."""
    shares = [prefers_first(one, seen, rng) for one in (labeler.first, labeler.second)]
    theirs = seen[f"user.{labeler.users.value}"][:, :1] > 0
    return np.where(theirs & _drawn(labeler, len(shares[0]), rng), shares[1], shares[0])


@singledispatch
def utility(labeler: Labeler, seen: Seen) -> np.ndarray:
    """What an answer is worth to a labeler, (N, K) gold units, without noise; TypeError where that is no one number."""
    raise TypeError(f"a {type(labeler).__name__} has no utility of its own")


@utility.register(GoldArgmax)
@utility.register(Boltzmann)
@utility.register(Flip)
def _(labeler: Labeler, seen: Seen) -> np.ndarray:
    """Gold: only the noise of these differs."""
    return seen["gold"]


@utility.register
def _(labeler: Sycophantic, seen: Seen) -> np.ndarray:
    """Gold, and what pleases the user."""
    return seen["gold"] + labeler.bonus * seen["behaviour.pleases"]


@utility.register
def _(labeler: Cautious, seen: Seen) -> np.ndarray:
    """Gold, and whether it refuses."""
    return seen["gold"] + labeler.bonus * seen["behaviour.refuses"]


@utility.register
def _(labeler: Confident, seen: Seen) -> np.ndarray:
    """Gold, and how sure it sounds."""
    return seen["gold"] + labeler.bonus * (seen["behaviour.sure"] - seen["behaviour.unsure"])


@utility.register
def _(labeler: Length, seen: Seen) -> np.ndarray:
    """Gold, and how long it is."""
    return seen["gold"] + labeler.bonus * seen["tokens"]


@utility.register
def _(labeler: Limited, seen: Seen) -> np.ndarray:
    """Gold of what can be checked, and what is believed of the rest (2409.12822)."""
    return np.where(seen["difficulty"] <= labeler.competence, seen["gold"], seen["believed"])


def _drawn(labeler: Mixture, prompts: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 1): which of N prompts the second would be asked about."""
    return rng.random((prompts, 1)) < labeler.share


@utility.register
def _(labeler: Flawed, seen: Seen) -> np.ndarray:
    """Gold, and what each flaw adds to it."""
    added = [utility(flaw, seen) - seen["gold"] for flaw in labeler.flaws.values()]
    return seen["gold"] + np.sum(added, axis=0)


def _gaps(worth: np.ndarray) -> np.ndarray:
    """(N, P): utility of the first minus utility of the second of each pair, from (N, K)."""
    first, second = pairs_of(worth.shape[1])
    return worth[:, first] - worth[:, second]


def _ranked(worth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, P): 1 where the first ranks higher by utility (N, K) plus Gumbel noise, whose differences are logistic."""
    return (_gaps(worth + rng.gumbel(size=worth.shape)) > 0).astype(float)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _standard(values: np.ndarray) -> np.ndarray:
    """In SDs over all answers, around their mean; 0 where all are alike."""
    sd = values.std()
    return (values - values.mean()) / sd if sd > 0 else np.zeros_like(values, dtype=float)
