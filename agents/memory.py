"""What a network with memory is called with, and who keeps the memory between calls.

A network says how many numbers it remembers of a stream (`memory_size`; 0 for all that have no memory) and is called
with `Seen` in place of the bare observations. While playing, sequences are one observation long and the memory goes
from call to call. While learning, they are `length` observations of one stream: the gradient runs back through them to
the first, whose memory is taken as it was when it was played (truncated back-propagation through time).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn


@dataclasses.dataclass
class Seen:
    """Observations with what was remembered before each; any leading shape [...], rows for a network."""

    obs: Tensor
    """[..., D]"""
    memory: Tensor
    """[..., S]; a network reads that of each sequence's first row"""
    fresh: Tensor
    """[...] bool, whether an episode begins here: nothing is remembered of what was before"""
    length: int = 1
    """Rows of a sequence; a stream's rows follow one another"""
    after: Tensor | None = None
    """[rows / length, S], what is remembered after each sequence; left here by the network"""

    def __len__(self) -> int:
        return len(self.obs)

    def __getitem__(self, index: Any) -> Seen:
        """Index the leading dimensions."""
        return Seen(self.obs[index], self.memory[index], self.fresh[index], self.length)

    def transpose(self, first: int, second: int) -> Seen:
        """Swap two of the leading dimensions, counted from the front."""
        obs, memory, fresh = (part.transpose(first, second) for part in (self.obs, self.memory, self.fresh))
        return Seen(obs, memory, fresh, self.length)

    def flatten(self, first: int, last: int) -> Seen:
        """Join leading dimensions, counted from the front."""
        obs, memory, fresh = (part.flatten(first, last) for part in (self.obs, self.memory, self.fresh))
        return Seen(obs, memory, fresh, self.length)


def memory_size(policy: nn.Module) -> int:
    """Numbers that `policy` remembers of a stream."""
    return int(getattr(policy, "memory_size", 0))


class Memory:
    """What a policy remembers of each of its streams between decisions; nothing where it has no memory."""

    def __init__(self, policy: nn.Module, streams: int, device: torch.device) -> None:
        self.state = torch.zeros(streams, memory_size(policy), device=device)
        """[streams, S]"""
        self._has = self.state.shape[1] > 0

    def with_obs(self, obs: Tensor, rows: Any = slice(None)) -> Tensor | Seen:
        """What the policy is to be called with for observations [n, ...] of the streams `rows`."""
        if not self._has:
            return obs
        return Seen(obs, self.state[rows], torch.zeros(len(obs), dtype=torch.bool, device=obs.device))

    def keep(self, seen: Tensor | Seen, rows: Any = slice(None)) -> None:
        """Take over what the policy left in `seen`."""
        if isinstance(seen, Seen):
            assert seen.after is not None, "the policy was not called"
            self.state[rows] = seen.after.detach()

    def forget(self, ended: Tensor, rows: Any = slice(None)) -> None:
        """Episodes of the streams `rows` ended where `ended` [n] is true."""
        if self._has:
            self.state[rows] = self.state[rows].masked_fill(ended[:, None], 0.0)


class LSTM(nn.Module):
    """A long short-term memory (Hochreiter & Schmidhuber 1997) over sequences that may begin anew on their way.

    Written with linear layers, so that per-environment gradients see what they know; all rows' inputs go through
    theirs at once. The forget gate starts open (bias 1).
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.inputs = nn.Linear(inputs, 4 * width)
        self.recurrent = nn.Linear(width, 4 * width, bias=False)
        with torch.no_grad():
            for weight in (self.inputs.weight, self.recurrent.weight):
                for gate in weight.split(width):
                    nn.init.orthogonal_(gate)
            self.inputs.bias.zero_()
            self.inputs.bias[width : 2 * width] = 1.0

    @property
    def memory_size(self) -> int:
        """Output and cell of a stream."""
        return 2 * self.width

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        """x [rows, inputs] of the rows in `seen` -> [rows, width]; leaves the memory after them in `seen.after`."""
        gates = self.inputs(x).unflatten(0, (-1, seen.length))  # [n, L, 4 width]
        kept = ~seen.fresh.view(-1, seen.length, 1)
        h, c = seen.memory.unflatten(0, (-1, seen.length))[:, 0].to(x.dtype).split(self.width, -1)
        found = []
        for t in range(seen.length):
            h, c = h * kept[:, t], c * kept[:, t]
            take, forget, new, give = (gates[:, t] + self.recurrent(h)).chunk(4, -1)
            c = forget.sigmoid() * c + take.sigmoid() * new.tanh()
            h = give.sigmoid() * c.tanh()
            found.append(h)
        seen.after = torch.cat([h, c], -1)
        return torch.stack(found, 1).flatten(0, 1)
