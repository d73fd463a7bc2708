"""What an option gains: the same training run with it and without, turn about.

    python scripts/bench/options_speed.py [--only compile] [--rounds 7] [--json options_speed.json]

bf16 (`--precision bf16`), compile (`--compile`), act and learn (`--overlap …`), each against the defaults, on Pong with
PPO 8 x 128 and A2C 16 x 5. A2C's turns measure the noise as a run does; PPO's are one update each, of which
a run measures every twelfth, so that only the warm-up does. Printed: medians and the ratio round by round.
Results are merged into --json.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from arguments import at_least_one
from train_speed import ours, race

CASES = {"ppo 8x128": ("ppo", 8, 128, 1), "a2c 16x5": ("a2c", 16, 5, 12)}
OPTIONS: dict[str, dict[str, Any]] = {
    "compile": {"compile": True},
    "bf16": {"precision": "bf16"},
    "act": {"overlap": "act"},
    "learn": {"overlap": "learn"},
}


def main() -> None:
    """Race every option that was asked for, in both cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(OPTIONS), nargs="+", default=list(OPTIONS))
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    rows = {}
    if options.json is not None and options.json.exists():
        rows = {row["name"]: row for row in json.loads(options.json.read_text())}
    for option in options.only:
        for case, size in CASES.items():
            contenders = {
                option: partial(ours, *size, device="cpu", **OPTIONS[option]),
                "default": partial(ours, *size, device="cpu"),
            }
            name = f"{option}, {case}"
            rows[name] = race(name, contenders, options.rounds)
            if options.json is not None:
                options.json.write_text(json.dumps(list(rows.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
