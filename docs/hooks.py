"""What the site adds to the pages of this folder, so that nothing is written twice.

The page `keys.md` is generated from the configuration's schema. A line `<!-- claims: NAME -->` becomes the table of
`figures/NAME.claims.json` with the thresholds behind it, and `<!-- counts -->` the number of claims in each state.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from rlhf_lab.commands.reference import keys_markdown

FIGURES = Path(__file__).parent / "figures"
THRESHOLDS = Path(__file__).parents[1] / "analysis" / "claims"
# Figures that are another one on other runs, and are held to its thresholds.
SAME_FIGURE = {"quickstart": "gao2022_fig1", "hh_harmless": "gao2022_fig1"}
MARK = re.compile(r"^<!-- claims: (\w+) -->$", re.MULTILINE)
COUNTS = "<!-- counts -->"
KEYS = """# Keys and options

An option is chosen by `group=option`, a value set by `key=value`; values with commas are a sweep. What changes a result
is part of the key of every stage that uses it. `runtime` and `tracker` say how things run, and are part of none.
`rlhf-lab --cfg job` prints the values in force.

"""
STATES = {True: "met", False: "not met", None: "undecided"}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated page of keys."""
    files.append(File.generated(config, "keys.md", content=keys_page()))
    return files


def keys_page() -> str:
    """Return the page of keys."""
    return KEYS + keys_markdown()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of claims and of their counts."""
    if COUNTS in markdown:
        markdown = markdown.replace(COUNTS, counts())
    return MARK.sub(lambda match: f"{claims_table(match[1])}\n\n{thresholds(match[1])}", markdown)


def claims_of(name: str) -> list[dict[str, Any]]:
    """Return the claims of a committed figure."""
    return json.loads((FIGURES / f"{name}.claims.json").read_text())


def claims_table(name: str) -> str:
    """Return the claims of a committed figure as a Markdown table, one row a claim."""
    rows = ["| claim | measured | unit | state |", "|---|---|---|---|"]
    for claim in claims_of(name):
        low, high = claim["interval"]
        measured = f"{number(claim['measured'])} [{number(low)}, {number(high)}]"
        state = STATES[claim["met"]]
        if claim["by_construction"]:
            state += ", by construction"
        if claim["conditional"]:
            state += ", conditional"
        cells = [claim["claim"], measured, claim["unit"], state]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def thresholds(name: str) -> str:
    """Return the file of a figure's thresholds as a folded block: it says how each claim is measured."""
    text = (THRESHOLDS / f"{SAME_FIGURE.get(name, name)}.toml").read_text()
    block = "\n".join(f"    {line}".rstrip() for line in ["```toml", *text.splitlines(), "```"])
    return f'??? note "How each claim is measured, and its threshold"\n\n{block}'


def counts() -> str:
    """Return one sentence that counts the claims of all committed figures by state."""
    names = [path.name.removesuffix(".claims.json") for path in sorted(FIGURES.glob("*.claims.json"))]
    claims = [claim for name in names for claim in claims_of(name)]
    decided = [claim for claim in claims if not claim["by_construction"]]
    states = Counter(STATES[claim["met"]] for claim in decided)
    return (
        f"The figures make {len(claims)} claims. {len(claims) - len(decided)} hold by construction. Of the others "
        f"{states['met']} are met, {states['not met']} are not met and {states['undecided']} are undecided."
    )


def number(value: float | None) -> str:
    """Return `value` to three digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"
