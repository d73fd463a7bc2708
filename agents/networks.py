"""Policies by name: observation -> (action distribution, value).

`nature` (Mnih et al. 2015) and `impala` (Espeholt et al. 2018, the 15-layer residual torso) for pictures, `mlp`
for vectors, `entities` and, with memory, `entities-lstm` for rows of entities (see `entities.py`). The torso is shared
between policy and value for pictures and apart for vectors, as in the published baselines. Initialisation: orthogonal,
gain √2 in the torso, 0.01 for the policy head, 1 for the value head, zero biases. `tabular` and `blind` are for
comparison: a gradient known exactly, and a policy that sees nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from agents.distributions import Categorical, Distribution, Gaussian, Joint
from agents.entities import Entities, Layout
from agents.initialization import orthogonal


def pictures(obs: Tensor) -> Tensor:
    """[B, C, H, W] uint8 -> float32 in [0, 1], channels last: the layout in which CPU convolutions run 1.4x faster.

    On a CPU channel by channel, which takes half the time of torch's own conversion across layouts. Written without
    asking for a memory format, which `torch.func.vmap` can't do.
    """
    if obs.device.type != "cpu":
        return torch.stack(obs.unbind(1), -1).to(torch.float32).mul_(1.0 / 255.0).permute(0, 3, 1, 2)
    found = obs.new_empty(obs.shape[0], *obs.shape[2:], obs.shape[1], dtype=torch.float32)
    for channel in range(obs.shape[1]):
        found[..., channel] = obs[:, channel]
    return found.mul_(1.0 / 255.0).permute(0, 3, 1, 2)


class ActionHead(nn.Module):
    """Features [B, d] -> the distribution that fits the action space."""

    def __init__(self, features: int, action_space: gymnasium.Space[Any]) -> None:
        super().__init__()
        self.sizes: list[int] | None = None
        if isinstance(action_space, spaces.Discrete):
            outputs = int(action_space.n)
        elif isinstance(action_space, spaces.MultiDiscrete) and action_space.nvec.ndim == 1:
            self.sizes = [int(n) for n in action_space.nvec]
            outputs = sum(self.sizes)
        elif isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
            outputs = int(action_space.shape[0])
            self.log_std = nn.Parameter(torch.zeros(outputs))
        else:
            raise ValueError(
                f"no policy for the action space {action_space}: use Discrete, a flat MultiDiscrete or a flat Box"
            )
        self.continuous = isinstance(action_space, spaces.Box)
        self.linear = orthogonal(nn.Linear(features, outputs), 0.01)

    def forward(self, features: Tensor) -> Distribution:
        """features [B, d]."""
        out = self.linear(features)
        if self.continuous:
            return Gaussian(out, self.log_std)
        if self.sizes is not None:
            return Joint([Categorical(part) for part in out.split(self.sizes, -1)])
        return Categorical(out)


class Shared(nn.Module):
    """One torso for policy and value: `policy(obs) -> (distribution, value [B])`."""

    def __init__(self, torso: nn.Module, features: int, action_space: gymnasium.Space[Any]) -> None:
        super().__init__()
        self.torso = torso
        self.action = ActionHead(features, action_space)
        self.value = orthogonal(nn.Linear(features, 1), 1.0)
        self.torso_bfloat16 = False
        """Whether the torso computes in bfloat16 (weights and heads stay float32); see `precision.py`."""
        self.compiled_torso: Any = None
        self.compiled_sizes: frozenset[int] = frozenset()
        """Batches for which `compiled_torso` stands in for the torso; see `compilation.py`."""

    def features(self, torso: Callable[[Tensor], Tensor], obs: Tensor) -> Tensor:
        """What `torso`, the policy's own or that compiled, makes of obs [B, ...], in the torso's precision."""
        if not self.torso_bfloat16:
            return torso(obs)
        with torch.autocast(obs.device.type, torch.bfloat16):
            return torso(obs).float()

    def forward(self, obs: Tensor) -> tuple[Distribution, Tensor]:
        """obs [B, ...]."""
        features = self.features(self.compiled_torso if len(obs) in self.compiled_sizes else self.torso, obs)
        return self.action(features), self.value(features).squeeze(-1)


class NatureTorso(nn.Module):
    """Three convolutions and a dense layer of 512 (Mnih et al. 2015). obs [B, C, H, W] uint8, H, W >= 36."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = orthogonal(nn.Conv2d(shape[0], 32, 8, 4))
        self.conv2 = orthogonal(nn.Conv2d(32, 64, 4, 2))
        self.conv3 = orthogonal(nn.Conv2d(64, 64, 3, 1))
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1]
        self.dense = orthogonal(nn.Linear(flat, 512))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def convolutions(self, obs: Tensor) -> Tensor:
        """[B, C, H, W] uint8 -> [B, features]."""
        x = F.relu(self.conv1(pictures(obs)))
        x = F.relu(self.conv2(x))
        return F.relu(self.conv3(x)).flatten(1)

    def forward(self, obs: Tensor) -> Tensor:
        """-> [B, 512]."""
        return F.relu(self.dense(self.convolutions(obs)))


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = orthogonal(nn.Conv2d(channels, channels, 3, padding=1))
        self.conv2 = orthogonal(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class ImpalaTorso(nn.Module):
    """Three stages of convolution, max-pool and two residual blocks, then 256 dense (Espeholt et al. 2018)."""

    def __init__(self, shape: tuple[int, ...], channels: tuple[int, ...] = (16, 32, 32)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = shape[0]
        for after in channels:
            stages += [orthogonal(nn.Conv2d(before, after, 3, padding=1)), nn.MaxPool2d(3, 2, 1)]
            stages += [Residual(after), Residual(after)]
            before = after
        self.stages = nn.Sequential(*stages, nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            flat = self.stages(pictures(torch.zeros(1, *shape, dtype=torch.uint8))).shape[1]
        self.dense = orthogonal(nn.Linear(flat, 256))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, obs: Tensor) -> Tensor:
        """-> [B, 256]."""
        return F.relu(self.dense(self.stages(pictures(obs))))


class MLP(nn.Module):
    """Two towers of two tanh layers, one for the policy and one for the value. obs [B, ...] or [B] discrete."""

    def __init__(
        self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any], width: int = 64
    ) -> None:
        super().__init__()
        self.classes = int(observation_space.n) if isinstance(observation_space, spaces.Discrete) else None
        inputs = self.classes or math.prod(observation_space.shape or ())

        def tower() -> nn.Sequential:
            first, second = orthogonal(nn.Linear(inputs, width)), orthogonal(nn.Linear(width, width))
            return nn.Sequential(first, nn.Tanh(), second, nn.Tanh())

        self.policy_tower, self.value_tower = tower(), tower()
        self.action = ActionHead(width, action_space)
        self.value = orthogonal(nn.Linear(width, 1), 1.0)

    def forward(self, obs: Tensor) -> tuple[Distribution, Tensor]:
        """obs [B, ...]."""
        if self.classes is not None:
            x = F.one_hot(obs.long(), self.classes).to(torch.float32)
        else:
            x = obs.flatten(1).to(torch.float32)
        return self.action(self.policy_tower(x)), self.value(self.value_tower(x)).squeeze(-1)


class Tabular(nn.Module):
    """No torso: logits (or mean) and value linear in the observation without bias, one-hot if it is an index.

    The policy whose gradient the `solvable:` worlds know exactly.
    """

    def __init__(self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
        super().__init__()
        self.classes = int(observation_space.n) if isinstance(observation_space, spaces.Discrete) else None
        if self.classes is None and len(observation_space.shape or ()) != 1:
            raise ValueError(
                f"network 'tabular' wants an index or a flat vector, got {observation_space}; try 'mlp'"
            )
        inputs = self.classes or int((observation_space.shape or (0,))[0])
        self.continuous = isinstance(action_space, spaces.Box)
        if isinstance(action_space, spaces.Discrete):
            self.logits = nn.Linear(inputs, int(action_space.n), bias=False)
            nn.init.zeros_(self.logits.weight)
        elif isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
            self.mean = nn.Linear(inputs, int(action_space.shape[0]), bias=False)
            nn.init.zeros_(self.mean.weight)
            self.log_std = nn.Parameter(torch.zeros(int(action_space.shape[0])))
        else:
            raise ValueError(f"network 'tabular' has no action {action_space}: use Discrete or a flat Box")
        self.value = nn.Linear(inputs, 1, bias=False)
        nn.init.zeros_(self.value.weight)

    def forward(self, obs: Tensor) -> tuple[Distribution, Tensor]:
        """obs [B] integers or [B, m]."""
        x = F.one_hot(obs.long(), self.classes) if self.classes is not None else obs
        x = x.to(self.value.weight.dtype)
        distribution: Distribution = (
            Gaussian(self.mean(x), self.log_std) if self.continuous else Categorical(self.logits(x))
        )
        return distribution, self.value(x).squeeze(-1)


class Blind(nn.Module):
    """Sees nothing: one distribution and one value whatever the observation, the biases of the heads.

    A control: a goal that it reaches says nothing about learning to play, only about which actions to press how often.
    """

    def __init__(self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
        del observation_space
        super().__init__()
        self.action = ActionHead(1, action_space)
        self.value = orthogonal(nn.Linear(1, 1), 1.0)

    def forward(self, obs: Tensor) -> tuple[Distribution, Tensor]:
        """obs [B, ...], of which only B counts."""
        nothing = torch.zeros(len(obs), 1, device=obs.device)
        return self.action(nothing), self.value(nothing).squeeze(-1)


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    """Bytes: what is divided by 255. Numbers between 0 and 1 would come out too small to see."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8


def _picture_shape(name: str, space: gymnasium.Space[Any]) -> tuple[int, ...]:
    if not (_is_picture(space) and min((space.shape or (0,))[1:]) >= 36):
        raise ValueError(
            f"network {name!r} wants pictures [C, H, W] of bytes, at least 36x36, got {space}; try 'mlp'"
        )
    assert space.shape is not None
    return space.shape


def _nature(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> nn.Module:
    return Shared(NatureTorso(_picture_shape("nature", observation_space)), 512, action_space)


def _impala(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> nn.Module:
    return Shared(ImpalaTorso(_picture_shape("impala", observation_space)), 256, action_space)


NETWORKS: dict[str, Callable[[gymnasium.Space[Any], gymnasium.Space[Any]], nn.Module]] = {
    "nature": _nature,
    "impala": _impala,
    "mlp": MLP,
    "tabular": Tabular,
    "blind": Blind,
}
OF_ENTITIES = ("entities", "entities-lstm")
"""Networks that want a layout."""


def make_policy(
    name: str,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    seed: int = 0,
    layout: Layout | None = None,
) -> nn.Module:
    """Build network `name` with weights drawn from `seed`, leaving torch's global random state as it was.

    "auto" takes `entities` where a `layout` of the observations is given, `nature` for pictures and `mlp` otherwise.
    Raises ValueError for an unknown name or spaces the network can't serve.
    """
    if name == "auto":
        pictures_or_not = "nature" if _is_picture(observation_space) else "mlp"
        name = pictures_or_not if layout is None else "entities"
    if name not in (*NETWORKS, *OF_ENTITIES):
        raise ValueError(
            f"unknown network {name!r}; there are {', '.join(sorted([*NETWORKS, *OF_ENTITIES]))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in NETWORKS:
            return NETWORKS[name](observation_space, action_space)
        if layout is None:
            raise ValueError(f"network {name!r} wants a layout of entity rows, {observation_space} has none")
        return Entities(observation_space, action_space, layout, lstm=name == "entities-lstm")
