"""This project beside its peers: same game, network, protocol, batch and epochs, turn about in one process tree.

    python scripts/bench/side_by_side.py --setup              # once: a virtual environment for each peer, pinned
    python scripts/bench/side_by_side.py --rounds 5 --json side_by_side.json      # more rounds add to the file

Contenders: this project (measuring the noise, as it does by default), Stable-Baselines3 with its environments in one
process and in worker processes, EnvPool under a plain PyTorch loop, Sample Factory (its PPO; it has no A2C),
synchronous and with overlapped sampling, and the limit of the machine (see `limits.py`). Each is a process of its own
that waits between its turns; the order reverses every round. A turn is the same number of observations for all.
Printed: median observations per second with its range, and the median over rounds of ours / theirs. A contender that
can't run is listed with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import at_least_one, machine

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rl-gns" / "peers"
PINS = {
    "envpool": ["envpool==1.2.5", "torch==2.13.0", "numpy==2.4.6"],
    "sample-factory": [
        *("sample-factory==2.1.1", "torch==2.13.0", "gymnasium==0.29.1", "ale-py==0.10.1", "numpy==1.26.4"),
        *("opencv-python<4.12", "setuptools<81"),
    ],
}
UPDATES = {"a2c": 32, "ppo": 12}
"""Of a turn: as many as there are between two measurements of ours (every other one, every twelfth), or more."""
SIZES = {"a2c": (16, 5), "ppo": (8, 128)}
TINY = ((4, 8), 1)
START, TURN = 180, 240  # seconds before a contender counts as broken


class Absent(RuntimeError):
    """A contender can't take part; says why."""


class Contender:
    """A process that trains when told. `facts` are its versions, `said` what else it said of its last turn."""

    said: dict[str, float]

    def __init__(
        self, python: Path | str, program: str, *, patience: float = START, **arguments: Any
    ) -> None:
        """Raises Absent where it does not come up within `patience` seconds."""
        paths = [str(HERE / "peers"), *([str(HERE.parents[1])] if str(python) == sys.executable else [])]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [str(python), str(HERE / "peers" / program), json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # so that what it leaves can be ended with it
            env={**os.environ, "GOMP_SPINCOUNT": "20000", "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.facts = self._line(patience)

    def _line(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._errors.seek(0)
            said = [text.strip() for text in self._errors if text.strip()]
            errors = [text for text in said if "Error" in text.partition(":")[0]]
            why = (errors or said or [f"exit code {self._process.poll()}"])[-1]
            self.close()
            raise Absent(why if ready else f"no answer within {patience:.0f} s; its last words: {why}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def turn(self) -> float:
        """Train for a turn. Observations per second."""
        assert self._process.stdin is not None
        start = time.perf_counter()
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.said = self._line(TURN)
        return int(self.said.pop("observations")) / (time.perf_counter() - start)

    def close(self) -> None:
        """Hang up; it ends by itself, or is ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._errors.close()


class Limit:
    """The bare work of the algorithm on every core, as a contender."""

    def __init__(self, algo: str, num_envs: int, rollout: int, game: str) -> None:
        from limits import contender

        self.turn, self.close = contender(algo, num_envs, rollout, max(1, UPDATES[algo] // 2), game)
        self.facts: dict[str, Any] = {}


def set_up(folder: Path, names: Sequence[str] = tuple(PINS)) -> None:
    """Make these peers' environments in `folder`, or say why they can't be; what is there already stays."""
    for name in names:
        home, pins = folder / name, PINS[name]
        if (home / "complete").exists():
            continue
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        done = subprocess.run(
            [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
            (home / "failed").write_text(lines[0] if lines else f"pip ended with {done.returncode}")
            print(f"{name} can't be installed: {(home / 'failed').read_text()}")
        else:
            (home / "complete").write_text("\n".join(pins))
            print(f"{name}: {home}")


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of a peer's environment. Raises Absent with the reason there is none."""
    home = folder / name
    if (home / "failed").exists():
        raise Absent(f"it can't be installed: {(home / 'failed').read_text()}")
    if not (home / "bin" / "python").exists():
        raise Absent("it is not installed: run with --setup first")
    return home / "bin" / "python"


def enter(
    name: str,
    algo: str,
    game: str,
    folder: Path,
    size: tuple[int, int],
    updates: int,
    options: dict[str, Any] | None = None,
) -> Contender | Limit:
    """Start contender `name`; options: further settings of ours. Raises Absent."""
    num_envs, rollout = size
    common = {"algo": algo, "num_envs": num_envs, "rollout": rollout, "game": game, "updates": updates}
    if name == "limit":
        return Limit(algo, num_envs, rollout, game)
    if name == "ours":
        return Contender(sys.executable, "run_ours.py", options=options or {}, **common)
    if name.startswith("sb3"):
        return Contender(sys.executable, "run_sb3.py", processes=name == "sb3-subproc", **common)
    if name == "envpool":
        return Contender(python_of(folder, "envpool"), "run_envpool.py", **common)
    if algo == "a2c":
        raise Absent("Sample Factory has no A2C")
    common["workers"] = min(num_envs // 2, len(os.sched_getaffinity(0)))
    python = python_of(folder, "sample-factory")
    return Contender(python, "run_sample_factory.py", asynchronous=name.endswith("async"), **common)


NAMES = ("ours", "sb3", "sb3-subproc", "envpool", "sample-factory", "sample-factory-async", "limit")


def race(
    names: list[str],
    algo: str,
    game: str,
    folder: Path,
    rounds: int,
    tiny: bool = False,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Alternate `rounds` turns after a warm-up each. Rates by contender, versions, and who was absent and why.

    Once `seconds` are over no further round begins, but one there is.
    """
    size, updates = TINY if tiny else (SIZES[algo], UPDATES[algo])
    entered: dict[str, Contender | Limit] = {}
    absent: dict[str, str] = {}
    try:
        for name in names:
            try:
                entered[name] = enter(name, algo, game, folder, size, updates)
            except Absent as reason:
                absent[name] = str(reason)
        rates = alternate(entered, rounds, seconds, absent)
        rates = {name: found for name, found in rates.items() if any(found)}
        return {"rates": rates, "facts": {n: entered[n].facts for n in rates}, "absent": absent}
    finally:
        for one in entered.values():
            one.close()


def alternate(
    entered: Mapping[str, Any],
    rounds: int,
    seconds: float = math.inf,
    absent: dict[str, str] | None = None,
) -> dict[str, list[float | None]]:
    """Rates by contender over `rounds` turns of each after a warm-up. After `seconds` no further round begins.

    Args:
        entered: contenders by name.
        absent: gets the reason of each that breaks on the way; it has None from then on, and the others go on.
    """
    end, broken = time.monotonic() + seconds, {} if absent is None else absent
    rates: dict[str, list[float | None]] = {name: [] for name in entered}
    for number in range(rounds + 1):
        if number > 1 and time.monotonic() > end:
            break
        for name in list(entered)[:: 1 if number % 2 else -1]:  # nobody always goes first
            rate = None
            if name not in broken:
                try:
                    rate = entered[name].turn()
                except (Absent, BrokenPipeError) as reason:
                    broken[name] = f"it broke in round {number}: {reason}"
            if number:
                rates[name].append(rate)
    return rates


def add(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """`known` with the rounds of `found`, of an equal race; a contender that was not in all of them has None there."""
    done = max((len(rates) for rates in known.get("rates", {}).values()), default=0)
    new = max((len(rates) for rates in found["rates"].values()), default=0)
    rates = {}
    for name in {**known.get("rates", {}), **found["rates"]}:
        old, fresh = known.get("rates", {}).get(name, [None] * done), found["rates"].get(name, [None] * new)
        rates[name] = [*old, *fresh]
    absent = {
        name: why
        for name, why in {**known.get("absent", {}), **found["absent"]}.items()
        if name not in rates or "broke" in why
    }
    facts = {**known.get("facts", {}), **found["facts"]}
    of = {"of": found["of"]} if "of" in found else {}
    return {"rates": rates, "facts": facts, "absent": absent} | of


def summary(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By contender: median, low and high SPS, and ours / theirs over the rounds both had (for the limit: our share)."""
    found = {}
    ours = row["rates"].get("ours", [])
    for name, rates in row["rates"].items():
        known = [rate for rate in rates if rate is not None]
        ratios = [a / b for a, b in zip(ours, rates, strict=False) if a is not None and b is not None]
        found[name] = {
            "median": statistics.median(known),
            "low": min(known),
            "high": max(known),
            "rounds": len(known),
        }
        if ratios and name != "ours":
            found[name] |= {
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
            }
    return found


def said(cells: Mapping[str, float]) -> str:
    """Of one contender's `summary`: its rate with its range, and ours / theirs with its range."""
    spread = f"{cells['low']:,.0f}-{cells['high']:,.0f}"
    text = f"{cells['median']:7,.0f} {spread:>15}"
    if "ratio" in cells:
        text += f"{cells['ratio']:15.2f} {cells['ratio_low']:6.2f}-{cells['ratio_high']:.2f}"
    return text


def table(algo: str, row: dict[str, Any]) -> str:
    """For people."""
    num_envs, rollout = row.get("of", {}).get("size", SIZES[algo])
    lines = [f"{algo} {num_envs} x {rollout}{'' if algo == 'a2c' else ' x 4 epochs'}"]
    lines += [f"{'':22}{'SPS':>7} {'range':>15}{'ours / theirs':>15} {'range':>13}{'rounds':>8}"]
    for name, cells in row["summary"].items():
        lines += [f"{name:22}{said(cells):52}{cells['rounds']:8.0f}"]
    lines += [f"{name:22} absent: {why}" for name, why in row["absent"].items()]
    return "\n".join(lines)


def main() -> None:
    """Set up, or race and add to the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="make the peers' environments and stop")
    parser.add_argument("--peers", type=Path, default=CACHE, help=f"where they are; default {CACHE}")
    parser.add_argument("--algo", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--game", default="pong")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument(
        "--seconds",
        type=float,
        default=math.inf,
        help="no new round begins after so many, for each algorithm",
    )
    parser.add_argument("--tiny", action="store_true", help="4 x 8: whether everything runs, not how fast")
    parser.add_argument("--json", type=Path, default=None, help="the rounds are added to those there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contenders are closed on the way out
    if options.setup:
        set_up(options.peers)
        return
    result: dict[str, Any] = {"algorithms": {}}
    if options.json is not None and options.json.exists():
        result = json.loads(options.json.read_text())
    for algo in options.algo:
        size, updates = TINY if options.tiny else (SIZES[algo], UPDATES[algo])
        of = {"game": options.game, "size": list(size), "updates": updates, **machine()}
        known = result["algorithms"].get(algo, {})
        if known and known.get("of") != of:
            parser.error(
                f"{options.json} has rounds of another race, {known.get('of')}, not {of}: use another"
            )
        found = race(
            options.only, algo, options.game, options.peers, options.rounds, options.tiny, options.seconds
        )
        row = add(known, found | {"of": of})
        row["summary"] = summary(row)
        result["algorithms"][algo] = row
        print(table(algo, row), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
