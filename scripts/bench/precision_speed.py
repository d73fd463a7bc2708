"""What a bfloat16 torso gains: the same training run in bf16 and in float32, turn about.

    python scripts/bench/precision_speed.py [--rounds 7] [--json precision_speed.json]

Pong, PPO 8 x 128 and A2C 16 x 5, both measuring the noise. Printed: medians and the ratio round by round.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from train_speed import ours, race

CASES = {"ppo 8x128": ("ppo", 8, 128, 1), "a2c 16x5": ("a2c", 16, 5, 12)}


def main() -> None:
    """Run both cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    rows = []
    for name, size in CASES.items():
        contenders = {p: ours(*size, device="cpu", precision=p) for p in ("bf16", "float32")}
        rows.append(race(name, contenders, options.rounds))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
