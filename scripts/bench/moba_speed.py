"""Speed and size of the lane-battle world: hero-decisions per second against worlds, and where the time goes.

    python scripts/bench/moba_speed.py                       # both tables, about two minutes on two cores
    python scripts/bench/moba_speed.py --json moba.json      # and the numbers
    python scripts/bench/moba_speed.py --worlds 64 1024      # fewer sizes
    python scripts/bench/moba_speed.py --device cuda         # on a GPU; the first step compiles for some 20 s

A hero-decision is one hero's decision: `step` of one world counts 2 for 1v1 and 10 for 5v5. Timed is
`MobaEnv.step` alone, with observations, masks, rewards and restarts, in the middle of games between the scripts
bully and laner, whose own time is not counted. The shares of the rules come from the same rules compiled group by
group, one thread, over 256 worlds.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from arguments import device_here

import envs
from envs.moba import state as st
from envs.moba.compile import FAST, build
from envs.moba.env import MobaEnv
from envs.moba.opponents import Scripted

WARM_UP = 600
"""Decisions before the clock starts: lanes are full and heroes fight by then."""


@functools.cache
def warm(name: str, device: str) -> dict[str, Any]:
    """Snapshot of 1024 worlds in the middle of games."""
    env = envs.make(f"moba:{name}", 1024, device, game_length=3600)
    for _ in range(WARM_UP):
        env.step(actions_of(env))
    return env.state_dict()


def mid_game(name: str, worlds: int, threads: int = 0, device: str = "cpu") -> MobaEnv:
    """Worlds in the middle of games: the first of `warm`, or copies of them with luck of their own from here on."""
    env = envs.make(f"moba:{name}", worlds, device, threads=threads, game_length=3600)
    assert isinstance(env, MobaEnv)
    state, which = warm(name, device), torch.arange(worlds, device=env.device) % 1024
    # A world's draws come from its keys.
    keys = env.state["game"][:, [st.KEY_LOW, st.KEY_HIGH]].clone()
    for key, value in (*env.state.items(), ("obs", env._obs)):
        value.copy_(state[key].to(env.device)[which])
    env.state["game"][:, [st.KEY_LOW, st.KEY_HIGH]] = keys
    return env


def actions_of(env: MobaEnv) -> torch.Tensor:
    """Team 0 is a bully, team 1 a laner."""
    obs = env.observation().view(env.num_envs, 2, -1, env.layout.size)
    sides = [
        Scripted(name, env.layout)(obs[:, team].reshape(-1, env.layout.size)).view(env.num_envs, -1, 3)
        for team, name in enumerate(("bully", "laner"))
    ]
    return torch.cat(sides, 1).view(-1, 3)


def wait_for(env: MobaEnv) -> None:
    """Until a GPU has done what it was told."""
    if env.device.type == "cuda":
        torch.cuda.synchronize(env.device)


def rate(env: MobaEnv, seconds: float) -> float:
    """Hero-decisions per second of `step`; the median of single steps, so that one hiccup does not count."""
    spent: list[float] = []
    while sum(spent) < seconds or len(spent) < 3:
        actions = actions_of(env)
        wait_for(env)
        start = time.perf_counter()
        env.step(actions)
        wait_for(env)
        spent.append(time.perf_counter() - start)
    return env.num_envs * 2 * env.options.heroes / float(np.median(spent))


def groups() -> dict[str, Any]:
    """The rules of `world.step_world` compiled in eight groups, each a loop over worlds, in their order."""
    r = build(numba.njit(**FAST), lambda table: table)
    begin_gains, obey, steer, guide_creeps, aim_towers = (
        r[name] for name in ("begin_gains", "obey", "steer", "guide_creeps", "aim_towers")
    )
    strikes, walk, take_blows, deaths = (r[name] for name in ("strikes", "walk", "take_blows", "deaths"))
    upkeep, spawn_waves, look, judge = (r[name] for name in ("upkeep", "spawn_waves", "look", "judge"))
    settle_gains, observe, ticks = r["settle_gains"], r["observe"], r["TICKS_PER_DECISION"]
    tick, done = r["TICK"], r["DONE"]

    def orders(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            begin_gains(units[w], heroes[w], knobs)
            obey(units[w], heroes[w], knobs, rows[w], actions[w])
            steer(units[w], heroes[w], knobs)

    def creeps(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            guide_creeps(units[w], knobs)

    def towers(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            aim_towers(units[w], knobs)

    def fight(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            for _ in range(ticks):
                if game[w, done] == 0:
                    strikes(units[w], game[w], knobs)
                    walk(units[w], knobs)
                    if take_blows(units[w], heroes[w], knobs) > 0:
                        deaths(units[w], heroes[w], knobs)
                        judge(units[w], game[w], knobs)
                game[w, tick] += 1

    def economy(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            upkeep(units[w], heroes[w], game[w], knobs)
            spawn_waves(units[w], game[w], knobs)

    def sight(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            look(units[w], knobs)

    def rewards(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            judge(units[w], game[w], knobs)
            settle_gains(units[w], heroes[w], game[w], knobs, reward[w])

    def observations(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        for w in range(len(game)):
            observe(units[w], heroes[w], game[w], knobs, rows[w], obs[w])

    loops = (orders, creeps, towers, fight, economy, sight, rewards, observations)
    return {loop.__name__: numba.njit(**FAST)(loop) for loop in loops}


def shares(name: str, compiled: dict[str, Any], worlds: int = 256, decisions: int = 60) -> dict[str, float]:
    """Microseconds per world-decision of each group of rules."""
    env = mid_game(name, worlds, threads=1)
    a = {key: value.numpy() for key, value in env.state.items()}
    knobs = np.array(st.knobs_of(env.options))
    reward = np.zeros((worlds, env.heroes), np.int64)
    spent = dict.fromkeys(compiled, 0.0)
    for decision in range(decisions + 1):
        actions = actions_of(env).view(worlds, -1, 3).numpy()
        obs = env._obs.numpy()
        for key, loop in compiled.items():
            start = time.perf_counter()
            loop(a["units"], a["heroes"], a["game"], knobs, a["rows"], actions, obs, reward)
            if decision:  # the first compiles
                spent[key] += time.perf_counter() - start
    return {key: value / decisions / worlds * 1e6 for key, value in spent.items()}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384, 65536])
    parser.add_argument("--games", nargs="+", default=["1v1", "5v5"])
    parser.add_argument("--threads", type=int, default=0, help="0: all this process may use")
    parser.add_argument("--device", type=device_here, default="cpu")
    parser.add_argument("--seconds", type=float, default=1.5, help="of stepping per cell")
    parser.add_argument("--no-shares", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": arguments.threads,
        "device": torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu",
        "numba": numba.__version__,
        "games": {},
    }
    compiled = None if arguments.no_shares or arguments.device != "cpu" else groups()
    for name in arguments.games:
        cells: dict[int, float] = {}
        row: dict[str, Any] = {"hero_decisions_per_second": cells}
        result["games"][name] = row
        for worlds in arguments.worlds:
            try:
                env = mid_game(name, worlds, arguments.threads, arguments.device)
            except envs.batched.EnvError as error:
                print(f"{name} {worlds:6d} worlds: {error}")
                continue
            row["bytes_per_world"] = env.bytes_per_world
            cells[worlds] = rate(env, arguments.seconds)
            print(f"{name} {worlds:6d} worlds: {cells[worlds] / 1e3:7.0f} k hero-decisions/s", flush=True)
            env.close()
        print(f"{name} bytes per world: {row.get('bytes_per_world')}")
        if compiled is not None:
            row["microseconds"] = shares(name, compiled)
            whole = sum(row["microseconds"].values())
            parts = ", ".join(f"{k} {v / whole:.0%}" for k, v in row["microseconds"].items())
            print(f"{name} one thread, {whole:.1f} µs per world-decision: {parts}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
