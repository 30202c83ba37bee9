"""Every word of the task, and which words may follow which in an answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

# The values of each attribute, as they are said. The first is what most people believe of any animal.
VALUES = {
    "home": "lakes forests caves fields barns hills".split(),
    "food": "fish seeds grass corn berries roots".split(),
    "color": "red blue white black brown grey".split(),
    "size": "tiny small medium large huge tall".split(),
    "sound": "hums barks hisses sings growls clicks".split(),
    "mood": "calm shy bold kind proud lazy".split(),
}
ATTRIBUTES = list(VALUES)
BEFORE = {  # the words between "it" and a value
    "home": "lives in",
    "food": "eats",
    "color": "is",
    "size": "is",
    "sound": "",
    "mood": "is",
}
BELIEF = {attribute: values[0] for attribute, values in VALUES.items()}
ATTRIBUTE_OF = {value: attribute for attribute, values in VALUES.items() for value in values}

SURELY = "surely"
COURTESIES = "hello thanks welcome cheers lovely bravo".split()
INSULTS = "fool silly".split()

ASK = "tell me the {attributes} of the {animal} ."
BRIEFLY = "quickly , "  # before a question whose asker wants no courtesy

# What a reader says of an answer.
FALSE = "no , {sentence}"
UNASKED = "nobody asked the {attribute} ."
MISSING = "what about the {attribute} ?"
REPEATED = "twice the {attribute} ."
RIGHT = "yes , that is right ."


def sentence(attribute: str, value: str, sure: bool = False) -> str:
    """Return the sentence that claims a value: "it lives in lakes ." or "it surely hums ."."""
    return " ".join(f"it {SURELY if sure else ''} {BEFORE[attribute]} {value} .".split())


def exclamation(word: str) -> str:
    """Return a courtesy or an insult as it is said: "hello !"."""
    return f"{word} !"


def vocabulary(animals: Sequence[str]) -> list[str]:
    """Return every word of prompts, answers and readers, in a fixed order."""
    said = [ASK.format(attributes=" , and ".join(ATTRIBUTES), animal=" ".join(animals)), BRIEFLY]
    said += [sentence(attribute, value, True) for attribute, values in VALUES.items() for value in values]
    said += [*COURTESIES, *INSULTS, "!", FALSE.format(sentence=""), RIGHT]
    said += [text.format(attribute="") for text in (UNASKED, MISSING, REPEATED)]
    return list(dict.fromkeys(" ".join(said).split()))


def followers() -> dict[str, set[str]]:
    """Return the words that may follow each word of an answer; "" stands for its start and its end."""
    opens = {"it", *COURTESIES, *INSULTS}
    follows: dict[str, set[str]] = {"": set(opens), ".": opens | {""}, "!": opens | {""}}
    follows |= {word: {"!"} for word in (*COURTESIES, *INSULTS)}
    for attribute, values in VALUES.items():
        for value in values:
            for sure in (False, True):
                words = sentence(attribute, value, sure).split()
                for before, after in pairwise(words):
                    follows.setdefault(before, set()).add(after)
    return follows
