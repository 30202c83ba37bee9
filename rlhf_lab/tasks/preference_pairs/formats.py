r"""The formats of one row of a preference file, each parsed into one comparison.

Three kinds of row are read; each text may also be a list of chat messages `{role, content}`:

* `chosen`, `rejected`: whole dialogues "\n\nHuman: ...\n\nAssistant: ..." that differ in the last answer
* `prompt`, `chosen`, `rejected`: the answers alone
* `prompt`, `chosen`, `rejected` with whole dialogues, as messages or as text, which repeat the prompt
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Messages = list[dict[str, str]]

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character, as in "\\ud83d" without what should follow
ROLES = {"Human": "user", "Assistant": "assistant"}
KNOWN_ROLES = ("system", "user", "assistant")
FORMATS = "expected `chosen` and `rejected` (whole dialogues), or `prompt`, `chosen` and `rejected`"


class Comparison(NamedTuple):
    """Two answers to the same dialogue, and which of them was chosen."""

    messages: Messages  # up to and including the user's last turn
    chosen: str
    rejected: str


class Unusable(Exception):
    """A row that is well formed but compares nothing; its argument is the reason, under which it is counted."""


def comparison(row: object) -> Comparison:
    """Return the comparison in `row`; raise ValueError if its format is not known, Unusable if it compares nothing."""
    if not isinstance(row, Mapping):
        raise ValueError(f"found a {type(row).__name__}, expected an object: {FORMATS}")
    missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
    if missing:
        fields = ", ".join(map(str, row)) or "none"
        raise ValueError(f"found no `{missing[0]}` (fields: {fields}), {FORMATS}: rename the fields")
    prompt = row.get("prompt")
    if prompt is None:
        messages, chosen = _dialogue(row["chosen"], "chosen")
        rejected_messages, rejected = _dialogue(row["rejected"], "rejected")
        if messages != rejected_messages:
            raise Unusable("chosen and rejected answer different prompts")
    else:
        messages = _prompt(prompt)
        chosen, rejected = (_answer(row[side], side) for side in ("chosen", "rejected"))
    return _checked(Comparison(messages, chosen, rejected))


def _checked(pair: Comparison) -> Comparison:
    texts = [pair.chosen, pair.rejected, *(message["content"] for message in pair.messages)]
    if any(SURROGATE.search(text) for text in texts):
        raise Unusable("half of a character (a lone surrogate)")
    if not any(message["role"] == "user" and message["content"] for message in pair.messages):
        raise Unusable("empty prompt")
    if pair.messages[-1]["role"] != "user":
        raise Unusable("the prompt does not end with a user turn")
    if not pair.chosen or not pair.rejected:
        raise Unusable("empty answer")
    if pair.chosen == pair.rejected:
        raise Unusable("chosen and rejected are identical")
    return pair


def _prompt(value: object) -> Messages:
    """Return the messages of a `prompt`: messages, a dialogue with its turns marked, or the text of one user turn."""
    if not isinstance(value, str):
        return _messages(value, "prompt")
    turns = _turns(value)
    if turns and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()  # "\n\nAssistant:" at the end is only the request for an answer
    return turns or [{"role": "user", "content": value.strip()}]


def _answer(value: object, name: str) -> str:
    """Return an answer that is given beside its prompt; of a whole dialogue the last message."""
    messages = _turns(value) if isinstance(value, str) else _messages(value, name)
    if isinstance(value, str) and not messages:
        return value.strip()
    if not messages or messages[-1]["role"] != "assistant":
        raise Unusable("no assistant turn at the end")
    return messages[-1]["content"]


def _dialogue(value: object, name: str) -> tuple[Messages, str]:
    """Split a whole dialogue into the messages before the last answer, and that answer."""
    messages = _turns(value) if isinstance(value, str) else _messages(value, name)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise Unusable("not a dialogue that ends with an assistant turn")
    return messages[:-1], messages[-1]["content"]


def _turns(dialogue: str) -> Messages:
    """Return the turns of a text that marks them "Human:" and "Assistant:"; none if the text does not start so."""
    before, *parts = TURN.split(dialogue)
    if before.strip():
        return []
    return [
        {"role": ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def _messages(value: object, name: str) -> Messages:
    """Return chat messages with their contents stripped; raise ValueError for what is no message."""
    if not isinstance(value, list):
        raise ValueError(
            f"found a {type(value).__name__} in `{name}`, expected text or a list of chat messages"
        )
    return [_message(item, name) for item in value]


def _message(item: Any, name: str) -> dict[str, str]:
    if not isinstance(item, Mapping) or not isinstance(item.get("content"), str):
        raise ValueError(
            f"found a message without text in `{name}`, expected {{role, content}}: convert the file"
        )
    if item.get("role") not in KNOWN_ROLES:
        known = ", ".join(KNOWN_ROLES)
        raise ValueError(
            f"found the role {item.get('role')!r} in `{name}`, expected one of {known}: rename it"
        )
    return {"role": item["role"], "content": item["content"].strip()}
