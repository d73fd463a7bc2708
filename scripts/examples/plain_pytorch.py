"""The noise scale in a plain PyTorch loop: a small network on scikit-learn's digits.

    python scripts/examples/plain_pytorch.py                    # units: groups of 8 examples
    python scripts/examples/plain_pytorch.py --units examples   # units: single examples

The three lines that are not in the loop without measuring are marked (1), (2), (3). (2) takes the place of
`losses.mean().backward()` and leaves the same gradient in `.grad`. As batches grow to the noise scale that is
printed, a step gains about as much as it costs; far beyond it, larger batches hardly help.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from rl_gns.noise import Moments, NoiseScale, NoiseScaleMeter, backward_in_groups
from rl_gns.noise.per_environment import per_environment_moments

BATCH, GROUPS = 64, 8


class Progress(NamedTuple):
    """One step of the loop."""

    step: int
    loss: float
    noise: NoiseScale


def digits() -> tuple[Tensor, Tensor]:
    """Pictures [1797, 64] of mean 0, and their classes [1797]."""
    data = load_digits()
    return torch.tensor(data.data / 8 - 1, dtype=torch.float32), torch.tensor(data.target)


def make_network(seed: int = 0) -> nn.Sequential:
    """64-32-10 with tanh."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def measured_backward(network: nn.Module, x: Tensor, y: Tensor, batch: Tensor, units: str) -> Moments:
    """Leave the gradient of the mean loss over `batch`, indices [B], in `.grad`; return the moments.

    The noise is that of one group of B / GROUPS examples, or of one example.
    """

    def losses(rows: Tensor) -> Tensor:
        return F.cross_entropy(network(x[rows]), y[rows], reduction="none")

    if units == "groups":
        return backward_in_groups(losses, batch.chunk(GROUPS), network.parameters())
    network.zero_grad()  # this one adds to .grad, as backward does
    return per_environment_moments(lambda: losses(batch), network)


def train(steps: int, units: str = "groups", learning_rate: float = 0.1, seed: int = 0) -> Iterator[Progress]:
    """Plain SGD on batches drawn with replacement; yields every step."""
    x, y = digits()
    network = make_network(seed)
    optimizer = torch.optim.SGD(network.parameters(), learning_rate)
    generator = torch.Generator().manual_seed(seed)
    unit = BATCH // GROUPS if units == "groups" else 1
    meter = NoiseScaleMeter(unit_observations=unit, halflife=50 * BATCH)  # (1)
    for step in range(1, steps + 1):
        batch = torch.randint(len(x), (BATCH,), generator=generator)
        moments = measured_backward(network, x, y, batch, units)  # (2)
        optimizer.step()
        meter.update(moments)  # (3)
        with torch.no_grad():
            loss = float(F.cross_entropy(network(x), y))
        yield Progress(step, loss, meter.read())


def main() -> None:
    """Print loss and noise scale, in examples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--units", choices=["groups", "examples"], default="groups")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for now in train(options.steps, options.units, seed=options.seed):
        if now.step % 100 == 0:
            print(f"step {now.step:5}  loss {now.loss:.3f}  noise scale {now.noise} examples", flush=True)


if __name__ == "__main__":
    main()
