"""Measures the noise scale of parts of a run's gradient, where `noise_parts` asks for them.

    policy, value, entropy, total    that term of the loss alone (with its weight), or their sum
    layers                           every layer's parameters apart: layers/conv1, layers/dense, …
    optimizer                        |P g|², P the optimizer's own diagonal preconditioner
    normalized                       the total with every update counted alike (`Moments.normalized`), and the parts
                                     asked for that can be: normalized/policy, …
    hessian, fisher                  B_noise = tr(HΣ)/(GᵀHG)
    line-search                      B_noise from the best improvement at several batch sizes
    epochs                           ppo: epochs/1, epochs/2, …, the rollout at each epoch's first weights

All but `normalized`, which the main measurement hands on, are extra passes. They change nothing of the run: weights,
`.grad`, optimizer and random state stay as they are. The estimators are in `rl_gns.noise`; derivations and costs in
docs/noise_parts.md.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from agents import a2c, ppo
from agents.optimizers import RMSpropTF
from agents.precision import plainly
from agents.rollout import Batch
from rl_gns.noise import Moments, NoiseScaleMeter
from rl_gns.noise.curvature import fisher_forms, hessian_forms, split_moments
from rl_gns.noise.line_search import LineSearchMeter, improvement_table
from rl_gns.noise.parts import FormSums, Gradient, inverse_root, layer_groups
from rl_gns.training.config import TrainConfig
from rl_gns.training.part_costs import CURVATURES, FREE, LOSSES, NORMALIZED, OF_TOTAL

WORST = 1e30
ROWS_AT_ONCE = 4096  # observations per forward pass without a graph


class NoiseParts:
    """The meters of a run's parts and the passes that feed them; does nothing where no part is asked for."""

    def __init__(
        self,
        config: TrainConfig,
        settings: a2c.Settings | ppo.Settings,
        policy: nn.Module,
        optimizer: torch.optim.Optimizer,
        streams: int,
    ) -> None:
        """streams: rows of the run's rollout; each environment's lie next to one another."""
        self.config, self.settings, self.policy, self.optimizer = config, settings, policy, optimizer
        self.asked = tuple(name for name in config.parts if name not in FREE)
        num_envs = config.num_envs or 1
        self.size = num_envs // config.groups
        width = streams // config.groups
        self.units = [slice(i * width, (i + 1) * width) for i in range(config.groups)]
        self.observations_per_update = float((config.rollout or 1) * streams)
        unit_observations = self.observations_per_update / num_envs
        named = [(name, p) for name, p in policy.named_parameters() if p.requires_grad]
        self.names, self.parameters = [name for name, _ in named], [p for _, p in named]
        self.layers = layer_groups(self.names)
        self.meters: dict[str, NoiseScaleMeter | LineSearchMeter] = {}
        for name in self._meter_names():
            self.meters[name] = NoiseScaleMeter(unit_observations, config.parts_halflife, config.confidence)
        if "normalized" in config.parts:
            self.meters["normalized"] = NoiseScaleMeter(unit_observations, config.halflife, config.confidence)
        if "line-search" in self.asked:
            unit = self.observations_per_update / config.groups
            batches = [k * unit for k in self._line_search_sizes()]
            self.meters["line-search"] = LineSearchMeter(
                batches, unit_observations, config.parts_halflife, config.confidence
            )

    def _meter_names(self) -> list[str]:
        names = [name for name in self.asked if name not in ("layers", "epochs", "line-search")]
        if "layers" in self.asked:
            names += [f"layers/{layer}" for layer in self.layers]
        if "epochs" in self.asked:
            names += [f"epochs/{k}" for k in range(1, (self.config.epochs or 1) + 1)]
        if "normalized" in self.config.parts:
            names += [f"normalized/{name}" for name in self.asked if name in NORMALIZED]
        return names

    def _line_search_sizes(self) -> list[int]:
        half = len(self.units) // 2
        return [2**k for k in range(half.bit_length())]

    def due(self, updates: int) -> bool:
        """Whether to measure before the update that follows `updates` others."""
        return bool(self.asked) and updates % self.config.parts_cadence == 0

    def measure(self, batch: Batch) -> None:
        """Measure all parts but the epochs on a fresh rollout, at the weights that collected it."""
        batch = self._normalized(batch)
        self._measure_losses(batch)
        if any(name in self.asked for name in (*CURVATURES, "line-search")):
            gradients = [self._gradient(self._surrogate(batch[:, unit])) for unit in self.units]
            self._measure_curvature(batch, gradients)
            if "line-search" in self.asked:
                self._measure_line_search(batch, gradients)

    def take_normalized(self, found: Moments, observations: float) -> None:
        """Hand on what the main measurement found, which stands for so many observations."""
        if "normalized" in self.meters and all(map(math.isfinite, found)):
            cast(NoiseScaleMeter, self.meters["normalized"]).update(found, observations)

    @contextmanager
    def during_update(self, batch: Batch, updates: int, seconds: dict[str, float]) -> Iterator[None]:
        """Around ppo's update: measure the gradient at the first weights of every epoch.

        Hangs on the optimizer's steps, of which every epoch has `minibatches`. The time it takes is moved
        from `seconds["learn"]` to `seconds["measure"]`.
        """
        if not ("epochs" in self.asked and self.due(updates)):
            yield
            return
        batch = self._normalized(batch)
        epochs, minibatches = self.config.epochs or 1, self.config.minibatches or 1
        steps = 0

        def measure() -> None:
            start = time.perf_counter()
            with torch.enable_grad(), plainly(self.policy):
                sums = FormSums()
                for unit in self.units:
                    sums.add(self._gradient(self._losses(batch[:, unit])["total"]))
            self._take(f"epochs/{1 + steps // minibatches}", sums.moments())
            spent = time.perf_counter() - start
            seconds["measure"] += spent
            seconds["learn"] -= spent

        def after_step(*_: Any) -> None:
            nonlocal steps
            steps += 1
            epoch, within = divmod(steps, minibatches)
            if within == 0 and epoch < epochs:
                measure()

        measure()
        handle = self.optimizer.register_step_post_hook(after_step)
        try:
            yield
        finally:
            handle.remove()

    def rows(self) -> list[tuple[str, dict[str, float]]]:
        """(part, noise columns) for every part measured so far."""
        found = []
        for name, meter in self.meters.items():
            r = meter.read()
            if r.observations > 0:
                values = {
                    "noise_scale": math.nan if r.value is None else r.value,
                    "noise_scale_low": r.low,
                    "noise_scale_high": r.high,
                    "signal": r.signal,
                    "noise": r.noise,
                }
                found.append((name, values))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Every meter's state by part."""
        return {name: meter.state_dict() for name, meter in self.meters.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same parts."""
        for name, meter in self.meters.items():
            meter.load_state_dict(state[name])

    # Measuring

    def _measure_losses(self, batch: Batch) -> None:
        """The terms of the loss, the total in the plain and the optimizer's metric, and its layers."""
        sums = {name: FormSums() for name in LOSSES if name in self.asked}
        of_total = [name for name in OF_TOTAL if name in self.asked]
        totals = {"total": FormSums()} if {"total", "layers"} & set(of_total) else {}
        if "optimizer" in of_total:
            weights = preconditioner(self.optimizer, self.parameters)
            if weights is not None:
                totals["optimizer"] = FormSums(weights)
        if not sums and not totals:
            return
        for unit in self.units:
            losses = self._losses(batch[:, unit])
            for name, terms in sums.items():
                terms.add(self._gradient(losses[name], keep=True))
            if totals:
                g = self._gradient(losses["total"])
                for metric in totals.values():
                    metric.add(g)
        for name, found in (sums | totals).items():
            if name in self.asked:
                self._take(name, found.moments())
        if "layers" in of_total:
            for layer, places in self.layers.items():
                self._take(f"layers/{layer}", totals["total"].moments(places))

    def _measure_curvature(self, batch: Batch, gradients: Sequence[Gradient]) -> None:
        def hessian(unit: int, vectors: Sequence[Gradient]) -> Tensor:
            return hessian_forms(self._surrogate(batch[:, self.units[unit]]), self.parameters, vectors)

        def fisher(unit: int, vectors: Sequence[Gradient]) -> Tensor:
            rows = batch[:, self.units[unit]].flat()
            distribution, _ = self.policy(rows.observations())
            return fisher_forms(distribution.log_prob(rows.actions), self.parameters, vectors)

        for name, forms in (("hessian", hessian), ("fisher", fisher)):
            if name in self.asked:
                self._take(name, split_moments(gradients, forms))

    @torch.no_grad()
    def _measure_line_search(self, batch: Batch, gradients: Sequence[Gradient]) -> None:
        meter = cast(LineSearchMeter, self.meters["line-search"])
        half = len(self.units) // 2
        held_out = batch[:, self.units[half].start :]
        per_pass = max(1, ROWS_AT_ONCE // held_out.advantage.shape[0])
        streams = held_out.advantage.shape[1]

        def loss_at(displacement: list[Tensor] | None) -> float:
            if displacement is None:
                displacement = [torch.zeros_like(p) for p in self.parameters]
            moved = [p - d for p, d in zip(self.parameters, displacement, strict=True)]
            weights = dict(zip(self.names, moved, strict=True))
            policy = cast(nn.Module, lambda obs: functional_call(self.policy, weights, (obs,)))
            parts = [
                self._surrogate(held_out[:, i : i + per_pass], policy) * min(per_pass, streams - i)
                for i in range(0, streams, per_pass)
            ]
            return float(torch.stack(parts).double().sum() / streams)

        mean = [torch.stack(tensors).mean(0) for tensors in zip(*gradients, strict=True)]
        norm = math.sqrt(sum(float(g.square().sum()) for g in mean))
        if not (math.isfinite(norm) and norm > 0):
            return
        meter.scale = meter.scale or 1 / norm
        table = improvement_table(gradients[:half], loss_at, self._line_search_sizes(), meter.scale)
        table[~(table > -WORST)] = -WORST  # a step so long that the loss overflows is no improvement
        meter.update(table, self.config.parts_cadence * self.observations_per_update)

    def _take(self, name: str, found: Moments) -> None:
        """Moments of the groups, into the part's meter and, where there is one, into that of them normalized."""
        for key, part in ((name, found), (f"normalized/{name}", found.normalized())):
            meter = self.meters.get(key)
            part = part.regrouped(self.size)
            if isinstance(meter, NoiseScaleMeter) and all(map(math.isfinite, part)):
                meter.update(part, self.config.parts_cadence * self.observations_per_update)

    # Losses

    def _normalized(self, batch: Batch) -> Batch:
        """With ppo's advantages scaled over the whole rollout, as `ppo.measure` has them."""
        if isinstance(self.settings, ppo.Settings) and self.settings.normalize_advantage:
            return dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
        return batch

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean of each term of the loss that trains, weighted, and of their sum."""
        s, policy = self.settings, self.policy
        parts = a2c.loss(policy, batch) if isinstance(s, a2c.Settings) else ppo.loss(policy, batch, s.clip)
        return {
            "policy": parts.policy.mean(),
            "value": s.value_coef * parts.value.mean(),
            "entropy": -s.entropy_coef * parts.entropy.mean(),
            "total": parts.total(s.value_coef, s.entropy_coef).mean(),
        }

    def _surrogate(self, batch: Batch, policy: nn.Module | None = None) -> Tensor:
        """Mean loss with -ρA for the policy, ρ = π/π_old unclipped: what a step is judged by.

        At the weights that collected the rollout its gradient is that of either algorithm's loss. Away from
        them it estimates the return (Kakade & Langford 2002), which -A log π does not: that has no minimum.
        """
        s = self.settings
        return ppo.loss(policy or self.policy, batch, math.inf).total(s.value_coef, s.entropy_coef).mean()

    def _gradient(self, loss: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        """Of a mean loss; leaves `.grad` alone. keep: the graph is needed again."""
        return torch.autograd.grad(
            loss, self.parameters, retain_graph=keep, allow_unused=True, materialize_grads=True
        )


def preconditioner(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter | Tensor]
) -> list[Tensor] | None:
    """What the optimizer's next step multiplies each coordinate with, by its mean square so far.

    None before the first step of Adam and torch's RMSProp: there is nothing to divide by yet.

    Raises:
        ValueError: an optimizer without a diagonal preconditioner that is known here.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found: list[Tensor] = []
    for p in parameters:
        group, state = groups[id(p)], optimizer.state.get(p, {})
        if isinstance(optimizer, RMSpropTF):
            v = state["square_avg"] if state else torch.full_like(p, optimizer.start)
            found += inverse_root([v], group["eps"], inside=True)
        elif not isinstance(optimizer, (torch.optim.RMSprop, torch.optim.Adam)):
            raise ValueError(f"{type(optimizer).__name__} has no preconditioner that is known here")
        elif not state:
            return None
        elif isinstance(optimizer, torch.optim.RMSprop):
            found += inverse_root([state["square_avg"]], group["eps"])
        else:
            correction = 1 / (1 - group["betas"][1] ** float(state["step"]))
            found += inverse_root([state["exp_avg_sq"]], group["eps"], scale=correction)
    return found
