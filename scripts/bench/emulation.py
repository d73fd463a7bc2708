"""Environments alone: ours beside ale-py's AtariVectorEnv and EnvPool, turn about in one process tree.

    python scripts/bench/emulation.py --setup            # once: EnvPool, pinned, in an environment of its own
    python scripts/bench/emulation.py --rounds 9 --json emulation.json

Random actions in Pong, the observations built (84 x 84 x 4, frame skip 4), nothing learnt, at 8, 64, 512 and 4,096
environments. Each contender is a process of its own, with as many threads or workers as it takes by default; "limit" is
the bare emulators on every core (`limits.py`). The order reverses every round. Printed: median observations per second
with its range and the median over rounds of ours / theirs. Results are merged into --json, one row a number of
environments, written as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from arguments import at_least_one, machine, same_machine
from limits import contender as limit
from side_by_side import CACHE, Absent, Contender, alternate, python_of, said, set_up, summary

SIZES = (8, 64, 512, 4096)
PEERS = ("ale-py", "envpool")
OBSERVATIONS = 6000
"""Of a turn, about; four steps at the least."""
LOADING = 0.3  # seconds a game, at the most


class Limit:
    """The bare emulators on every core, as a contender."""

    def __init__(self, num_envs: int, steps: int, game: str) -> None:
        self.turn, self.close = limit("emulation", num_envs, max(1, steps // 2), 1, game)
        self.facts: dict[str, Any] = {}


def enter(name: str, num_envs: int, steps: int, game: str, peers: Path) -> Contender | Limit:
    """Start contender `name`. Raises Absent."""
    if name == "limit":
        return Limit(num_envs, steps, game)
    python = python_of(peers, "envpool") if name == "envpool" else sys.executable
    arguments = {"whose": name, "num_envs": num_envs, "steps": steps, "game": game}
    return Contender(python, "run_emulation.py", patience=180 + LOADING * num_envs, **arguments)


def race(num_envs: int, rounds: int, game: str, peers: Path) -> dict[str, Any]:
    """Rates by contender over `rounds` turns after a warm-up each, versions, and who was absent and why."""
    steps = max(4, OBSERVATIONS // num_envs)
    entered: dict[str, Contender | Limit] = {}
    absent: dict[str, str] = {}
    try:
        for name in ("ours", *PEERS, "limit"):
            try:
                entered[name] = enter(name, num_envs, steps, game, peers)
            except Absent as reason:
                absent[name] = str(reason)
        rates = alternate(entered, rounds, absent=absent)
        rates = {name: found for name, found in rates.items() if any(found)}
    finally:
        for one in entered.values():
            one.close()
    row: dict[str, Any] = {
        "rates": rates,
        "absent": absent,
        "facts": {n: entered[n].facts for n in rates},
    }
    return row | {"summary": summary(row)}


def table(rows: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{'environments':>12}  {'contender':10}{'SPS':>7} {'range':>15}{'ours / theirs':>15} {'range':>11}"
    ]
    for size, row in sorted(rows.items(), key=lambda item: int(item[0])):
        for name, cells in row["summary"].items():
            lines += [f"{int(size):12,}  {name:10}{said(cells)}"]
        lines += [f"{int(size):12,}  {name:10} absent: {why}" for name, why in row["absent"].items()]
    return "\n".join(lines)


def main() -> None:
    """Set up, or race and merge into the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="make EnvPool's environment and stop")
    parser.add_argument("--peers", type=Path, default=CACHE, help=f"where it is; default {CACHE}")
    parser.add_argument("--only", type=int, nargs="+", default=list(SIZES), help="numbers of environments")
    parser.add_argument("--game", default="pong")
    parser.add_argument("--rounds", type=at_least_one, default=9)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contenders are closed on the way out
    if options.setup:
        set_up(options.peers, ["envpool"])
        return
    result: dict[str, Any] = {"rows": {}}
    if options.json is not None and options.json.exists():
        result = json.loads(options.json.read_text())
        if result["rows"] and result.get("game") != options.game:
            parser.error(f"{options.json} has rows of {result.get('game')}, not {options.game}: use another")
        if result["rows"]:
            same_machine(parser, options.json, result)
    result |= {"machine": machine(), "game": options.game}
    for num_envs in options.only:
        start = time.perf_counter()
        result["rows"][str(num_envs)] = race(num_envs, options.rounds, options.game, options.peers)
        print(f"{num_envs:,} environments: {time.perf_counter() - start:.0f} s", flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result["rows"]))


if __name__ == "__main__":
    main()
