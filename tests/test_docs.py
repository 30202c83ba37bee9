"""docs/keys.md and the schema name the same keys and options."""

import re
from pathlib import Path

from rlhf_lab.commands.errors import keys
from rlhf_lab.commands.options import folder
from rlhf_lab.config.experiment import Experiment

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs" / "keys.md").read_text()
NAMED = set(re.findall(r"`([\w./+]+)`", PAGE))


def test_every_key_is_explained_and_every_explained_key_exists():
    schema = {key for key in keys(Experiment) if "." in key}
    assert len(schema) >= 60
    assert schema - NAMED == set()
    explained = {
        name for name in NAMED if name.partition(".")[0] in Experiment.__annotations__ and "." in name
    }
    assert explained - schema == set()


def test_every_option_is_listed():
    for group in (
        "task",
        "model",
        "intervention",
        "labeler",
        "rm",
        "rm_combination",
        "reward_shaping",
        "policy",
        "tracker",
    ):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{group}` |"))
        options = {path.stem for path in (folder("conf") / group).glob("*.yaml")}
        assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == options, group
