"""Networks of one make that act in one pass, each on rows of its own: a small network costs what its calls cost."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from agents.distributions import Discrete
from agents.memory import Seen


class Stacked:
    """Take the networks, say which of them sees which row, then call it with the rows."""

    def __init__(self, policy: nn.Module) -> None:
        """policy: of their make; returns a `Discrete` distribution and values."""
        self._policy = copy.deepcopy(policy).requires_grad_(False)
        self._weights: dict[str, Tensor] = {}
        self._row_of_slot = self._slot_of_row = torch.zeros(0, dtype=torch.int64)
        self._most = 0

    def take(self, networks: Sequence[Mapping[str, Tensor]]) -> None:
        """The networks' weights by name, from now on."""
        self._weights = {name: torch.stack([w[name] for w in networks]) for name in networks[0]}

    def assign(self, networks: Tensor) -> None:
        """networks: [n] int64, which of them sees row 0, 1 …; on the rows' device."""
        counts = torch.bincount(networks)
        self._most = int(counts.max())
        order = networks.argsort(stable=True)
        first = counts.cumsum(0) - counts
        place = torch.arange(len(networks), device=networks.device) - first[networks[order]]
        self._slot_of_row = torch.empty_like(order)
        self._slot_of_row[order] = networks[order] * self._most + place
        count = len(next(iter(self._weights.values())))
        # Networks with fewer rows see the first one again, and nobody asks what they make of it.
        self._row_of_slot = torch.zeros(count * self._most, dtype=torch.int64, device=networks.device)
        self._row_of_slot[self._slot_of_row] = torch.arange(len(networks), device=networks.device)

    @torch.no_grad()
    def __call__(self, inputs: Tensor | Seen) -> Discrete:
        """inputs [n, ...] -> the n rows' distribution; a memory's next state is left in `inputs.after`."""
        found: list[Discrete] = []

        def tables(
            weights: dict[str, Tensor], obs: Tensor, memory: Tensor | None
        ) -> tuple[list[Tensor], list[Tensor]]:
            fresh = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
            seen = obs if memory is None else Seen(obs, memory, fresh)
            distribution, _ = functional_call(self._policy, weights, (seen,))
            found.append(distribution)
            after = [] if isinstance(seen, Tensor) or seen.after is None else [seen.after]
            return distribution.tables, after

        obs = self._in_slots(inputs if isinstance(inputs, Tensor) else inputs.obs)
        memory = None if isinstance(inputs, Tensor) else self._in_slots(inputs.memory)
        out, after = vmap(tables, in_dims=(0, 0, None if memory is None else 0))(self._weights, obs, memory)
        if isinstance(inputs, Seen):
            inputs.after = after[0].flatten(0, 1)[self._slot_of_row]
        return found[0].with_tables([table.flatten(0, 1)[self._slot_of_row] for table in out])

    def _in_slots(self, rows: Tensor) -> Tensor:
        """[n, ...] -> [networks, most, ...]"""
        return rows[self._row_of_slot].unflatten(0, (-1, self._most))
