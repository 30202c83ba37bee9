"""The labelers, who say which answer of a pair is better: their utility of an answer, then their noise.

A labeler compares K answers to each of N prompts in all P = K (K - 1) / 2 pairs, in the order of `pairs_of(K)`. To add
a labeler, add its dataclass to `rlhf_lab.config.labelers`, its values to `conf/labeler/`, and here a function for
`prefers_first` or, if its utility is not gold alone (`Biased`), for `utility`.
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

Seen = Mapping[str, np.ndarray]  # features of all answers by name, (N, K) each


@singledispatch
def prefers_first(labeler: Labeler, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Return the preference for the first answer of each pair, (N, P) in [0, 1]; 0.5 is no preference.

    `seen` has the features `gold`, `gold.<part>` and `tokens`. For the embedded task it also has `behaviour.<name>`,
    `believed` (gold in the eyes of someone who cannot check claims), `difficulty` and `user.<tone>` (whether the user
    states a belief in that tone).
    """
    kind = type(labeler).__name__
    raise TypeError(f"found no function for the labeler {kind}: add one with @prefers_first.register")


def pairs_of(answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second answer of each pair of K answers, (P,) each."""
    first, second = zip(*combinations(range(answers), 2), strict=True)
    return np.array(first), np.array(second)


def settled(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return whether the first answer is preferred by more than half; a coin decides where the share is 0.5."""
    coin = rng.random(share.shape) < 0.5
    return np.where(share == 0.5, coin, share > 0.5)


@prefers_first.register
def gold_argmax(labeler: GoldArgmax, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Prefer the answer with the higher gold (2210.10760, section 2.2)."""
    return 0.5 + 0.5 * np.sign(_gaps(seen["gold"]))


@prefers_first.register
def boltzmann(labeler: Boltzmann, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Prefer the first with P = sigmoid((gold_0 - gold_1) / temperature); K answers are ranked by Plackett-Luce."""
    if labeler.soft:
        return 1 / (1 + np.exp(-_gaps(seen["gold"]) / labeler.temperature))
    return _ranked(seen["gold"] / labeler.temperature, rng)


@prefers_first.register
def flip(labeler: Flip, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Prefer the better answer, with a share of the labels flipped (2310.02743, section 4)."""
    better = settled(prefers_first(GoldArgmax(), seen, rng), rng)
    return (better ^ (rng.random(better.shape) < labeler.rate)).astype(float)


@prefers_first.register
def pool(labeler: Pool, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Return the share of votes; each annotator who is asked about a prompt ranks all of its answers."""
    parts = [name for name in seen if name.startswith("gold.") and name not in ("gold.content", "gold.form")]
    features = np.stack([_standardised(seen[name]) for name in (*parts, "tokens")], axis=-1)  # (N, K, parts)
    weights = labeler.bias * rng.standard_normal((labeler.annotators, features.shape[-1]))
    asked = rng.random((len(features), labeler.annotators)).argsort(axis=1)[:, : labeler.votes]
    utilities = seen["gold"][..., None] + np.einsum("nkp,nvp->nkv", features, weights[asked])
    votes = [_ranked(utilities[..., vote] / labeler.temperature, rng) for vote in range(labeler.votes)]
    return np.mean(votes, axis=0)


@prefers_first.register
def biased(labeler: Biased, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Prefer the answer with the higher utility, or draw by Bradley-Terry if the temperature is above 0."""
    utilities = utility(labeler, seen)
    if labeler.temperature == 0:
        return 0.5 + 0.5 * np.sign(_gaps(utilities))
    return _ranked(utilities / labeler.temperature, rng)


@prefers_first.register
def mixture(labeler: Mixture, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Ask one of the two labelers about each prompt."""
    first, second = prefers_first(labeler.first, seen, rng), prefers_first(labeler.second, seen, rng)
    return np.where(_asks_second(labeler, len(first), rng), second, first)


@prefers_first.register
def vulnerable(labeler: Vulnerable, seen: Seen, rng: np.random.Generator) -> np.ndarray:
    """Ask the second labeler only about prompts of vulnerable users (2411.02306)."""
    first, second = prefers_first(labeler.first, seen, rng), prefers_first(labeler.second, seen, rng)
    vulnerable = seen[f"user.{labeler.users.value}"][:, :1] > 0
    return np.where(vulnerable & _asks_second(labeler, len(first), rng), second, first)


@singledispatch
def utility(labeler: Labeler, seen: Seen) -> np.ndarray:
    """Return what each answer is worth to a labeler without noise, (N, K), in gold units."""
    raise TypeError(f"found a {type(labeler).__name__}, expected a labeler that has one utility of an answer")


@utility.register(GoldArgmax)
@utility.register(Boltzmann)
@utility.register(Flip)
def gold_alone(labeler: Labeler, seen: Seen) -> np.ndarray:
    """Return gold: these labelers differ only in their noise."""
    return seen["gold"]


@utility.register
def sycophantic(labeler: Sycophantic, seen: Seen) -> np.ndarray:
    """Return gold plus a bonus for what pleases the user."""
    return seen["gold"] + labeler.bonus * seen["behaviour.pleases"]


@utility.register
def cautious(labeler: Cautious, seen: Seen) -> np.ndarray:
    """Return gold plus a bonus for a refusal."""
    return seen["gold"] + labeler.bonus * seen["behaviour.refuses"]


@utility.register
def confident(labeler: Confident, seen: Seen) -> np.ndarray:
    """Return gold plus a bonus for sounding sure, minus it for sounding unsure."""
    return seen["gold"] + labeler.bonus * (seen["behaviour.sure"] - seen["behaviour.unsure"])


@utility.register
def length(labeler: Length, seen: Seen) -> np.ndarray:
    """Return gold plus a bonus for every token."""
    return seen["gold"] + labeler.bonus * seen["tokens"]


@utility.register
def limited(labeler: Limited, seen: Seen) -> np.ndarray:
    """Return gold where the labeler can check the claim, elsewhere what the labeler believes (2409.12822)."""
    return np.where(seen["difficulty"] <= labeler.competence, seen["gold"], seen["believed"])


@utility.register
def flawed(labeler: Flawed, seen: Seen) -> np.ndarray:
    """Return gold plus what each flaw adds to it."""
    added = [utility(flaw, seen) - seen["gold"] for flaw in labeler.flaws.values()]
    return seen["gold"] + np.sum(added, axis=0)


def _gaps(utilities: np.ndarray) -> np.ndarray:
    """Return utility of the first minus utility of the second of each pair, (N, P), from utilities (N, K)."""
    first, second = pairs_of(utilities.shape[1])
    return utilities[:, first] - utilities[:, second]


def _ranked(utilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 1 where the first ranks higher by utility (N, K) plus Gumbel noise, else 0, (N, P).

    Differences of Gumbel noise are logistic, so each pair follows Bradley-Terry.
    """
    return (_gaps(utilities + rng.gumbel(size=utilities.shape)) > 0).astype(float)


def _asks_second(labeler: Mixture, prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the prompts, (N, 1) bool, about which the second labeler would be asked."""
    return rng.random((prompts, 1)) < labeler.share


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return values in SDs around their mean over all answers; 0 if they are all equal."""
    sd = values.std()
    return (values - values.mean()) / sd if sd > 0 else np.zeros_like(values, dtype=float)
