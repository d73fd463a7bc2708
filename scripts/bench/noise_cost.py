"""What measuring the noise adds to an update: forward and backward of a network under an A2C loss.

    python scripts/bench/noise_cost.py                            # all sizes, all cores
    python scripts/bench/noise_cost.py --sizes 5x16 --rounds 41 --json cost.json
    python scripts/bench/noise_cost.py --network impala           # or mlp; the default is nature

Against the plain update run, in turn and in one process: K separate backward passes (`loop K`), the single
pass that notes every unit's norm, on a time-major batch (`one pass K`) and on one sorted by environment
(`units first K`), and `vmap` over the units' gradients, for any module (`torch.func K`). K = N is a unit per
environment. Other jobs slow several updates in a row, so what counts
is the ratio to the plain update run next to each: the table gives its median and quartiles.
`--clock cpu` counts processor time, which waiting for a core does not add to; use it with `--threads 1`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import rollout_by_environments
from gymnasium import spaces
from torch import Tensor, nn

from agents.networks import make_policy
from rl_gns.noise import backward_in_groups, functional_backward, moments
from rl_gns.noise.per_environment import per_environment_backward

SHAPES: dict[str, tuple[int, ...]] = {"nature": (4, 84, 84), "impala": (4, 84, 84), "mlp": (8,)}
"""Of an observation, by network."""
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def losses(network: Callable[[Tensor], Any], rows: tuple[Tensor, ...]) -> Tensor:
    """A2C loss of every row of (observation, action, advantage, return)."""
    obs, actions, advantages, returns = rows
    distribution, value = network(obs)
    policy_loss = -distribution.log_prob(actions) * advantages
    return policy_loss + 0.25 * (value - returns).square() - 0.01 * distribution.entropy()


class A2C:
    """Loss per observation, [T, n] or [n, T], of a random rollout [T, N] given a slice of n environments."""

    def __init__(self, policy: nn.Module, network: str, T: int, N: int, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        obs = torch.randint(0, 256, (T, N, *SHAPES[network]), dtype=torch.uint8, generator=g)
        actions = torch.randint(0, 6, (T, N), generator=g)
        self.policy = policy
        self.rollout = (obs, actions, torch.randn(T, N, generator=g), torch.randn(T, N, generator=g))

    def __call__(self, environments: slice, units_first: bool = False) -> Tensor:
        """[T, n], or [n, T] with the rows of an environment together."""
        parts = [x[:, environments] for x in self.rollout]
        if units_first:
            parts = [x.transpose(0, 1) for x in parts]
        return losses(self.policy, tuple(x.flatten(0, 1) for x in parts)).view(parts[1].shape)


def contenders(policy: nn.Module, network: str, T: int, N: int) -> dict[str, Callable[[], Any]]:
    """Name -> one update's forward and backward; "plain" first."""
    loss, everyone = A2C(policy, network, T, N), slice(0, N)

    def plain() -> None:
        loss(everyone).mean().backward()

    def loop(k: int) -> Callable[[], Any]:
        groups = [slice(i * N // k, (i + 1) * N // k) for i in range(k)]
        return lambda: backward_in_groups(loss, groups, policy.parameters())

    def one_pass(k: int) -> Callable[[], Any]:
        return lambda: moments(*per_environment_backward(lambda: loss(everyone), policy, units=k))

    def units_first(k: int) -> Callable[[], Any]:
        return lambda: moments(
            *per_environment_backward(lambda: loss(everyone, True), policy, units=k, dim=0)
        )

    def by_torch_func(k: int) -> Callable[[], Any]:
        units = tuple(x.transpose(0, 1).unflatten(0, (k, N // k)).flatten(1, 2) for x in loss.rollout)
        return lambda: moments(*functional_backward(losses, policy, units))

    loops = [k for k in (2, 4, 8, 16) if N % k == 0]
    passes = sorted({k for k in (4, 8, 16, N) if N % k == 0})
    found: dict[str, Callable[[], Any]] = {"plain": plain}
    found |= {f"loop {k}": loop(k) for k in loops}
    found |= {f"one pass {k}": one_pass(k) for k in passes}
    found |= {f"units first {k}": units_first(k) for k in passes}
    found |= {f"torch.func {k}": by_torch_func(k) for k in passes}
    return found


def measure(
    policy: nn.Module,
    network: str,
    T: int,
    N: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Median milliseconds, and quartiles of the ratio to the plain update that ran next to it."""
    updates = contenders(policy, network, T, N)
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    ratios: dict[str, list[float]] = {name: [] for name in updates}

    def timed(name: str) -> float:
        policy.zero_grad(set_to_none=True)
        begin = clock()
        updates[name]()
        return clock() - begin

    for i in range(-1, rounds):  # round -1 warms up
        for name in updates:
            # In pairs, each order as often: other load then hits both, and no one always runs second.
            first, second = (timed(n) for n in (("plain", name) if i % 2 else (name, "plain")))
            plain, other = (first, second) if i % 2 else (second, first)
            if i >= 0:
                seconds[name].append(other)
                ratios[name].append(other / plain)
    rows = {}
    for name in updates:
        low, middle, high = np.quantile(ratios[name], (0.25, 0.5, 0.75)).tolist()
        ms = statistics.median(seconds[name]) * 1e3
        rows[name] = {"ms": ms, "ratio": middle, "ratio_low": low, "ratio_high": high}
    return rows


def main() -> None:
    """Print a table per size; write all numbers to --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=rollout_by_environments,
        default=[(5, 16), (5, 256), (128, 8)],
        help="TxN, rollout x environments",
    )
    parser.add_argument(
        "--rounds", type=int, help="pairs per contender; default 4000 observations' worth, 7 to 41"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads")
    parser.add_argument("--network", choices=list(SHAPES), default="nature")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall or processor time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    space = spaces.Box(0, 255, SHAPES[options.network], np.uint8)
    policy = make_policy(options.network, space, spaces.Discrete(6))
    about = {
        "network": options.network,
        "torch": torch.__version__,
        "threads": options.threads,
        "clock": options.clock,
    }
    result: dict[str, Any] = {**about, "sizes": {}}
    for T, N in options.sizes:
        size = f"{T}x{N}"
        rounds = options.rounds or min(41, max(7, 4000 // (T * N)))
        rows = result["sizes"][size] = measure(policy, options.network, T, N, rounds, CLOCKS[options.clock])
        print(f"\n[T={T}, N={N}], {T * N} observations, {options.threads} threads, {rounds} rounds")
        print(f"{'':16}{'ms':>9}{'ratio':>8}   quartiles")
        for name, row in rows.items():
            quartiles = f"{row['ratio_low']:.3f} .. {row['ratio_high']:.3f}"
            print(f"{name:16}{row['ms']:9.1f}{row['ratio']:8.3f}   {quartiles}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
