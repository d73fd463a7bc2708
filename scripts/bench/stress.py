"""Start a small Atari run and end it badly, again and again; nothing may be left behind and nothing lost.

    python scripts/bench/stress.py --cycles 200 --json stress.json    # pieces with the same --json add up

Each cycle starts `rl-gns train`, or resumes what the last cycle left, in a session of its own and ends it by one of
    ctrl-c     SIGINT to the whole group, as a terminal sends it
    sigterm    SIGTERM to the process group, as `timeout` sends it
    sigkill    SIGKILL to the parent: the workers must notice by themselves
    worker     SIGKILL to one emulator process: the run must stop, name its exit code and keep its checkpoint
    exception  an exception inside the training loop
at a random moment, a quarter of them while it still starts. Then: no process of its session lives, /dev/shm and the
temporary folder are as before, every checkpoint file is complete, none went backwards. A run that got to its end must
hold the same bits as one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from rl_gns.training import checkpoint
from rl_gns.training.metrics import TABLES, read_table

WAYS = ("ctrl-c", "sigterm", "sigkill", "worker", "exception")
GOAL = 3000
SETTINGS = [
    *["atari:pong", "--algo", "a2c", "--num-envs", "4", "--observations", str(GOAL), "--start-spread", "5"],
    *["--log-every", "200", "--checkpoint-every", "400", "--threads", "1", "--no-tensorboard"],
    *["--env-options", "workers", "2"],
]
PLAIN = "from rl_gns.cli import main; main()"
FAILING = """
import random, sys
from rl_gns.cli import main
from rl_gns.training.loop import Trainer
update, left = Trainer.update, [random.Random(int(sys.argv.pop(1))).randrange(1, 60)]
def fails(self):
    left[0] -= 1
    if left[0] < 0:
        raise RuntimeError("thrown on purpose")
    update(self)
Trainer.update = fails
main()
"""
PATIENCE = 20.0


@dataclasses.dataclass
class Outcome:
    """How one cycle went: whether its way `hit` a living run, and in `wrong` what must not be."""

    way: str
    early: bool
    code: int | None
    seconds: float
    observations: int
    hit: bool
    wrong: list[str]


def session_of(leader: int) -> dict[int, str]:
    """Living processes of the session that `leader` began: id -> state letter, zombies of others included."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                state, _, _, session = Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[:4]
            except OSError:
                continue
            if int(session) == leader:
                found[int(entry)] = state
    return found


def newest(run: Path) -> int:
    """Observations of the newest checkpoint, -1 if there is none."""
    return max((int(path.stem) for path in (run / "checkpoints").glob("*.ckpt")), default=-1)


def end_badly(process: subprocess.Popen[str], way: str, rng: random.Random) -> None:
    """Do what `way` says; "exception" needs nothing from outside."""
    if way == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    elif way == "sigterm":
        os.killpg(process.pid, signal.SIGTERM)
    elif way == "sigkill":
        process.send_signal(signal.SIGKILL)
    elif way == "worker":
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            workers = sorted(set(session_of(process.pid)) - {process.pid})
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
                return
            time.sleep(0.01)


def cycle(run: Path, way: str, rng: random.Random, early: bool | None = None) -> Outcome:
    """Start or resume `run`, end it by `way`, look at what is left. early: while it starts; None draws."""
    before = newest(run)
    resume = ["--resume"] if (run / "config.toml").exists() else []
    program = [FAILING, str(rng.randrange(2**30))] if way == "exception" else [PLAIN]
    shared = set(os.listdir("/dev/shm"))
    early = rng.random() < 0.25 if early is None else early
    wait = rng.uniform(0, 4.0 if early else 0.5)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", *program, "train", *SETTINGS, *resume, "--quiet", "--out", str(run)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Torch makes an (empty) folder for its compiler's cache wherever it is loaded.
            env={**os.environ, "TMPDIR": temporary, "TORCHINDUCTOR_CACHE_DIR": str(run.parent / "inductor")},
        )
        deadline = start + 90
        while not early and process.poll() is None and newest(run) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        until = time.monotonic() + wait
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        hit = process.poll() is None
        if hit:
            end_badly(process, way, rng)  # an exception comes by itself
        wrong = []
        try:
            _, said = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            wrong.append("it did not end")
            os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
        wrong += left_behind(process.pid, shared, Path(temporary))
    code = process.returncode
    if way == "exception":
        hit = code == 1  # thrown at an update of its own, before that moment or after it, or not at all
    wrong += complaints(way, code, said, early)
    wrong += damage(run, before)
    return Outcome(way, early, code, time.monotonic() - start, newest(run), hit, wrong)


def left_behind(leader: int, shared: set[str], temporary: Path) -> list[str]:
    """Processes, shared memory and temporary files that outlive the run by more than PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while True:
        processes = session_of(leader)
        memory = set(os.listdir("/dev/shm")) - shared
        files = [path.name for path in temporary.iterdir()]
        if not (processes or memory) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    found = [f"process {number} ({state})" for number, state in processes.items()]
    return found + [f"/dev/shm/{name}" for name in memory] + [f"temporary {name}" for name in files]


def complaints(way: str, code: int | None, said: str, early: bool) -> list[str]:
    """Exit code and words that don't fit the way it ended. 0 is always right: it may have got to its end before."""
    if code == 0:
        return []
    wanted = {
        "ctrl-c": (-2, 130),
        "sigterm": (-15, 143),
        "sigkill": (-9,),
        "worker": (1,),
        "exception": (1,),
    }[way]
    last = said.strip().splitlines()[-1] if said.strip() else ""
    found = []
    if not early and way in ("ctrl-c", "sigterm"):
        found.append(f"exit code {code} instead of 0: {last}")
    elif code not in wanted:
        found.append(f"exit code {code}: {last}")
    if way == "worker" and "exit code -9" not in " ".join(said.split()):
        found.append(f"the worker's exit code is not named: {last}")
    if way in ("worker", "exception") and "Traceback" in said:
        found.append(f"a traceback: {last}")
    return found


def damage(run: Path, before: int) -> list[str]:
    """Checkpoint files that can't be read, and observations that were lost."""
    found = [] if newest(run) >= before else [f"checkpoint of {before} observations lost"]
    for path in sorted((run / "checkpoints").glob("*.ckpt")):
        try:
            checkpoint.read(path)
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def difference(run: Path, whole: Path) -> list[str]:
    """Where a finished run differs from the undisturbed one."""
    ours, theirs = (checkpoint.newest(path / "checkpoints")[1] for path in (run, whole))
    found = [f"state {name} differs" for name in theirs if not checkpoint.equal(ours.get(name), theirs[name])]
    for table in TABLES:
        if table != "timing":
            a, b = (read_table(path / "metrics.db", table) for path in (run, whole))
            try:
                pd.testing.assert_frame_equal(a, b)
            except AssertionError:
                found.append(f"table {table} differs")
    return found


def stress(folder: Path, cycles: int, seed: int = 0) -> Iterator[tuple[Outcome, bool]]:
    """So many cycles in `folder`: how each went, and whether its run got to its end and was compared."""
    rng = random.Random(seed)
    whole = folder / "whole"
    if newest(whole) < GOAL:
        shutil.rmtree(whole, ignore_errors=True)
        command = [sys.executable, "-P", "-c", PLAIN, "train", *SETTINGS, "--quiet", "--out", str(whole)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    order: list[str] = []
    for number in range(cycles):
        order = order or rng.sample(WAYS, len(WAYS))
        run = folder / "run"
        outcome = cycle(run, order.pop(), rng)
        ended = outcome.observations >= GOAL
        if ended:
            outcome.wrong += difference(run, whole)
        if outcome.wrong:
            shutil.move(run, folder / f"wrong-{seed}-{number}")
        elif ended:
            shutil.rmtree(run)
        yield outcome, ended


def said(outcome: Outcome) -> str:
    """One line."""
    when = "early" if outcome.early else ""
    return (
        f"{outcome.way:10s} {when:6s} exit {outcome.code} at {outcome.observations} in {outcome.seconds:.0f} s: "
        f"{'; '.join(outcome.wrong) or 'clean'}"
    )


def main() -> None:
    """Run the cycles asked for; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=200, help="how many there shall be in the end")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the runs are; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, default=None, help="adds to the cycles there, after each")
    options = parser.parse_args()
    known: dict[str, Any] = {"cycles": [], "compared": 0}
    if options.json is not None and options.json.exists():
        known = json.loads(options.json.read_text())
    done = len(known["cycles"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for outcome, ended in stress(folder, options.cycles - done, seed=done):
            known["cycles"].append(dataclasses.asdict(outcome))
            known["compared"] += ended
            print(f"{len(known['cycles']):4d} {said(outcome)}", flush=True)
            if options.json is not None:
                aside = options.json.with_suffix(".tmp")
                aside.write_text(json.dumps(known, indent=1) + "\n")
                aside.rename(options.json)
    print(total(known))
    sys.exit(1 if any(row["wrong"] for row in known["cycles"]) else 0)


def total(known: dict[str, Any]) -> str:
    """What all cycles amount to, in a line."""
    ways = collections.Counter(row["way"] for row in known["cycles"] if row["hit"])
    hits = ", ".join(f"{n} {way}" for way, n in sorted(ways.items()))
    wrong = sum(bool(row["wrong"]) for row in known["cycles"])
    return (
        f"{len(known['cycles'])} cycles, hit while running: {hits}; {known['compared']} runs got to their end and were "
        f"compared; {wrong} cycles left something wrong"
    )


if __name__ == "__main__":
    main()
