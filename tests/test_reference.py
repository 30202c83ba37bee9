"""The reference of keys is whole, and every field of the schema is explained in a sentence."""

import re

import pytest

from rlhf_lab.commands.errors import keys
from rlhf_lab.commands.reference import field_comments, keys_markdown
from rlhf_lab.config import registry
from rlhf_lab.config.experiment import Experiment

PAGE = keys_markdown()


def test_every_key_and_every_option_is_in_it_once():
    explained = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert {key for key in keys(Experiment) if key.count(".") == 1} == set(explained)
    chosen = re.findall(r"^\| `(\w+=\w+)` \|", PAGE, re.MULTILINE)
    assert len(chosen) == len(set(chosen)) >= 70 and {"rm=3k", "labeler=flip", "policy=ppo"} <= set(chosen)


@pytest.mark.parametrize("group", registry.GROUPS)
def test_every_field_is_explained_in_a_sentence(group):
    for schema in {base for option in registry.GROUPS[group].values() for base in option.__mro__[:-1]}:
        for name, sentence in field_comments(schema).items():
            assert sentence[0].isupper() and sentence.endswith("."), f"{schema.__name__}.{name}: {sentence!r}"


def test_values_and_types_stand_beside_the_meaning():
    assert "| `preferences.pairs` |  | whole number | `4000` | Largest number of pairs" in PAGE
    assert "| `rm.lr` |  | number | by option | Peak learning rate. |" in PAGE
    assert "| `labeler.bonus` | `length` | number | `0.1` | Bonus in gold units for each token. |" in PAGE
    assert "`lm`: a language model of its own size; `sft`: the initial policy" in PAGE
