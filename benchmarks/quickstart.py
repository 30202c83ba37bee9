"""Where the time of a sweep goes: seconds by stage, from what the store recorded when each artifact was made.

python -m benchmarks.quickstart [--store store] [--sweep quickstart]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from rlhf_lab.store import records


def upstream(root: Path, stage: str, key: str, found: dict[tuple[str, str], dict]) -> None:
    """Add the manifests of an artifact and of everything it was made from."""
    path = root / stage / key / "manifest.json"
    if (stage, key) in found or not path.exists():
        return
    found[stage, key] = json.loads(path.read_text())
    for name, digest in found[stage, key]["inputs"].values():
        upstream(root, name, digest, found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", default=None)
    parser.add_argument("--sweep", default="quickstart")
    args = parser.parse_args()
    root = records.store_root(args.store)
    if args.sweep not in records.sweep_names(root):
        print(f"no sweep {args.sweep!r} in {root}: make quickstart, or give --store and --sweep")
        return
    found: dict[tuple[str, str], dict] = {}
    for run in records.made(args.sweep, root):
        upstream(root, "run", run.key, found)
    seconds = defaultdict(list)
    for (stage, _), manifest in found.items():
        seconds[stage].append(manifest["seconds"])
    total = sum(map(sum, seconds.values()))
    print(f"{args.sweep} in {root}: worker-seconds by stage")
    for stage, times in sorted(seconds.items(), key=lambda item: -sum(item[1])):
        print(f"  {stage:14} {len(times):4} x {sum(times) / len(times):7.1f} s = {sum(times):8.1f} s")
    made = [manifest["made"] for manifest in found.values()]
    begun = [manifest["made"] - manifest["seconds"] for manifest in found.values()]
    if made:
        print(f"  {'all':14} {total:27.1f} s of work in {max(made) - min(begun):.1f} s on the clock")


if __name__ == "__main__":
    main()
