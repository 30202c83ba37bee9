"""What the site adds to the pages: `<!-- claims: NAME -->` becomes a table of the claims of that figure."""

import json
import re
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "figures"
MARK = re.compile(r"^<!-- claims: (\w+) -->$", re.MULTILINE)
STATES = {True: "met", False: "not met", None: "undecided"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each mark of claims by their table."""
    return MARK.sub(lambda match: claims_table(match[1]), markdown)


def claims_table(name: str) -> str:
    """Return the claims of a committed figure as a Markdown table, one row a claim."""
    claims = json.loads((FIGURES / f"{name}.claims.json").read_text())
    rows = ["| claim | measured | unit | state |", "|---|---|---|---|"]
    for claim in claims:
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


def number(value: float | None) -> str:
    """Return `value` to three digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"
