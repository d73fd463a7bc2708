"""The gradient noise scale of Stable-Baselines3's PPO and A2C, as a callback:

    from rl_gns.sb3 import NoiseScaleCallback
    noise = NoiseScaleCallback(groups=8)
    model.learn(1_000_000, callback=noise)

It looks at the rollout buffer and the policy and changes neither. Knows Stable-Baselines3 and `rl_gns.noise`,
nothing else of the project.
"""

from __future__ import annotations

import copy
import math
import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rl_gns.noise import Moments, NoiseScale, NoiseScaleMeter
from rl_gns.noise.distributed import accumulated_moments
from rl_gns.noise.per_environment import per_environment_backward

try:
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.buffers import RolloutBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.type_aliases import RolloutBufferSamples
except ImportError as error:
    raise ImportError(
        "rl_gns.sb3 needs Stable-Baselines3: pip install -e '.[sb3]' in the clone, or stable-baselines3"
    ) from error

ROWS_AT_ONCE = 4096
COLUMNS = ("noise_scale", "noise_scale_low", "noise_scale_high", "signal", "noise")


class NoiseScaleCallback(BaseCallback):
    """Measures B_simple of the gradient that `train()` would take on a fresh rollout, before its first step.

    The loss is SB3's own (policy, value and entropy terms, value clipping, the model's coefficients), its
    gradient is split by groups of whole environments and taken before clipping. Advantages, where the model
    normalises them, are normalised once over the whole rollout: A2C does the same, PPO does so in each
    minibatch. Weights, optimizer, `.grad`, training mode, random states and the buffer are left as they were:
    training is the same, bit for bit, as without it.

    Logged with each of SB3's dumps: `noise/scale` (NaN while unknown), `noise/scale_low` (where the scale is
    unknown, it is at least this), `noise/scale_high`, in observations (SB3's timesteps), `noise/signal` and
    `noise/noise` (of one environment's rollout). With `normalized` under `noise_normalized/`, so that both kinds can
    stand side by side; give `prefix` where two callbacks of one kind do.

    Cost: a forward and a backward pass over the rollout for every measured one, about 1/n_epochs of PPO's
    `train()` and the whole of A2C's once more; and some milliseconds for the interval.

    A callback goes on where it was when `learn` is called again. To go on in another process, save
    `state_dict()` next to the model. Take a new callback for another training.

    Args:
        groups: groups of environments compared, at least 2; divides the model's n_envs.
        every: rollouts per measurement.
        halflife: observations after which a measurement weighs half; by default 100 000, or 16 measurements'
            worth where that is more. At least three measurements' worth.
        confidence: of the interval.
        normalized: count every measured rollout alike instead of by the square of its gradient, see
            `Moments.normalized`: the noise scale of the usual rollout, where a few enormous ones rule the plain. Signal
            and noise are then shares.
        prefix: of the logged keys.
        verbose: 1 prints each reading.

    Raises:
        ValueError: here for a setting out of range. By `learn`, before the first step: an algorithm whose
            loss is not PPO's or A2C's, a single environment, groups that don't divide n_envs, a policy with
            batch norm, a half-life too short for a reading, another rollout length than that measured before.
            After a rollout: a NaN in the loss, a policy whose rows depend on one another.
    """

    def __init__(
        self,
        groups: int = 8,
        every: int = 1,
        *,
        halflife: float | None = None,
        confidence: float = 0.95,
        normalized: bool = False,
        prefix: str | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.groups, self.every = _whole("groups", groups, 2), _whole("every", every, 1)
        if halflife is not None and not isinstance(halflife, Real):
            raise ValueError(f"halflife must be a number of observations, got {halflife!r}")
        NoiseScaleMeter(1, 1.0 if halflife is None else halflife, confidence)  # refuses what it can't use
        self.halflife, self.confidence = None if halflife is None else float(halflife), confidence
        self.normalized = normalized
        self.prefix = prefix or ("noise_normalized" if normalized else "noise")
        self.history: list[dict[str, float]] = []
        """One row per measurement, `pandas.DataFrame(callback.history)`: `observations` (the model's
        num_timesteps), and the reading then, in the columns of `Run.metrics()`."""
        self._meter: NoiseScaleMeter | None = None
        self._rollout = 0
        self._rollouts_seen = 0
        self._reading = NoiseScale(None, 0.0, math.inf, math.nan, math.nan, 0.0)

    def read(self) -> NoiseScale:
        """The noise scale now, in observations."""
        return self._reading

    def state_dict(self) -> dict[str, Any]:
        """All state as plain numbers, lists and dicts."""
        return {
            "normalized": self.normalized,
            "rollout": self._rollout,
            "rollouts_seen": self._rollouts_seen,
            "meter": None if self._meter is None else self._meter.state_dict(),
            "history": [dict(row) for row in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; before `learn`.

        Raises:
            ValueError: the state lacks something, or `halflife`, `confidence` or `normalized` differ from it.
        """
        if missing := {"rollout", "rollouts_seen", "meter", "history"} - state.keys():
            raise ValueError(
                f"the saved state lacks {', '.join(sorted(missing))}: was it saved by NoiseScaleCallback?"
            )
        if (was := state.get("normalized", False)) != self.normalized:
            raise ValueError(
                f"the saved state has normalized={was}, this callback {self.normalized}: make them agree"
            )
        meter = None
        if state["meter"] is not None:
            halflife = state["meter"]["halflife"] if self.halflife is None else self.halflife
            meter = NoiseScaleMeter(state["rollout"], halflife, self.confidence)
            meter.load_state_dict(state["meter"])
            self._reading = meter.read()
        self._meter, self._rollout, self._rollouts_seen = meter, state["rollout"], state["rollouts_seen"]
        self.history = [dict(row) for row in state["history"]]

    def _init_callback(self) -> None:
        model = _supported(self.model)
        buffer = model.rollout_buffer
        n, rollout = buffer.n_envs, int(buffer.buffer_size)  # plain: it is part of the state
        if n < 2:
            raise ValueError(
                "one environment alone shows no noise between environments: "
                "train with several, as in make_vec_env(..., n_envs=8)"
            )
        if n % self.groups:
            choices = ", ".join(str(k) for k in range(2, n + 1) if n % k == 0)
            raise ValueError(
                f"{n} environments do not divide into {self.groups} groups: choose groups from {choices}"
            )
        if self._rollout and self._rollout != rollout:
            raise ValueError(
                f"this callback has measured rollouts of {self._rollout} steps, the model's have {rollout}: "
                "use a new NoiseScaleCallback"
            )
        measured = self.every * rollout * n
        halflife = self.halflife or max(100_000.0, 16.0 * measured)
        if self._meter is not None:
            halflife = self._meter.state_dict()["halflife"]
        if halflife < 3 * measured:
            raise ValueError(
                f"halflife {halflife:g} is too short for a reading: one measurement stands for "
                f"{measured:,} observations, so give at least {3 * measured:,}"
                + (" to a new NoiseScaleCallback" if self._meter is not None else "")
            )
        if self._meter is None:
            self._meter = NoiseScaleMeter(rollout, halflife, self.confidence)
            self._rollout = rollout

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model = _supported(self.model)
        if self._meter is None:
            raise RuntimeError("a rollout ended before learn() began")
        if self._rollouts_seen % self.every == 0:
            found = rollout_moments(model, self.groups, self.normalized)
            self._meter.update(found, self.every * self._rollout * model.rollout_buffer.n_envs)
            self._reading = self._meter.read()
            if self.verbose:
                print(f"{self.prefix}: {self._reading} at {model.num_timesteps:,} timesteps")
            self.history.append({"observations": float(model.num_timesteps), **_columns(self._reading)})
        self._rollouts_seen += 1
        for name, value in _columns(self._reading).items():
            self.logger.record(f"{self.prefix}/{name.removeprefix('noise_')}", value)


def rollout_moments(model: PPO | A2C, groups: int, normalized: bool = False) -> Moments:
    """Moments of ONE environment's gradient on the model's full rollout buffer, at its present weights.

    With `normalized` divided by the mean square of a group's. The model is left as it was. Raises ValueError where
    `groups` does not divide n_envs.
    """
    buffer, policy = model.rollout_buffer, model.policy
    if buffer.n_envs % groups:
        raise ValueError(f"{buffer.n_envs} environments do not divide into {groups} groups")
    parts = _parts(groups, buffer.n_envs * buffer.buffer_size)
    size = buffer.n_envs // parts
    centre, spread = torch.zeros(()), torch.ones(())
    if model.normalize_advantage:
        whole = torch.as_tensor(buffer.advantages)
        centre, spread = whole.mean(), whole.std() + 1e-8

    def losses_of(part: int) -> Tensor:
        samples = _samples(buffer, slice(part * size, (part + 1) * size))
        samples = samples._replace(advantages=(samples.advantages - centre) / spread)
        return losses(model, samples).view(size, buffer.buffer_size)

    with _left_as_it_was(policy):
        norms = [
            per_environment_backward(
                lambda part=part: losses_of(part),  # type: ignore[misc]
                policy,
                units=groups // parts,
                dim=0,
                scale=1 / parts,
                allow_unused=True,  # as SB3's optimizers do
            )[0]
            for part in range(parts)
        ]
        reached = [(name, p) for name, p in policy.named_parameters() if p.grad is not None]
        found = accumulated_moments(torch.cat(norms), reached)
    return (found.normalized() if normalized else found).regrouped(buffer.n_envs // groups)


def losses(model: PPO | A2C, samples: RolloutBufferSamples) -> Tensor:
    """SB3's loss of each observation, [rows]; its mean over a batch is what `train()` differentiates.

    Source: `PPO.train` and `A2C.train` of Stable-Baselines3 2.4-2.9.

    Args:
        model: gives policy, coefficients and, for PPO, clip ranges at its present progress.
        samples: of the rollout buffer, rows in any order, advantages normalised where the model does so.
    """
    actions, advantages = samples.actions, samples.advantages
    if isinstance(model.action_space, spaces.Discrete):
        actions = actions.long().flatten()
    values, log_prob, entropy = model.policy.evaluate_actions(samples.observations, actions)
    values = values.flatten()
    if isinstance(model, PPO):
        # Not the model's own attribute: SB3 brings that up to date only after the rollout's callbacks.
        progress = 1.0 - model.num_timesteps / max(1, model._total_timesteps)
        clip: float = model.clip_range(progress)  # type: ignore[operator]
        ratio = torch.exp(log_prob - samples.old_log_prob)
        policy_loss = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip))
        if model.clip_range_vf is not None:
            reach: float = model.clip_range_vf(progress)  # type: ignore[operator]
            values = samples.old_values + (values - samples.old_values).clamp(-reach, reach)
    else:
        policy_loss = -advantages * log_prob
    value_loss = (samples.returns - values).square()
    entropy = -log_prob if entropy is None else entropy
    return policy_loss - model.ent_coef * entropy + model.vf_coef * value_loss


def _supported(model: Any) -> PPO | A2C:
    name = type(model).__name__
    if not hasattr(model, "rollout_buffer"):
        raise ValueError(
            f"NoiseScaleCallback measures PPO and A2C: {name} learns from a replay buffer, "
            "where no environment has a gradient of its own"
        )
    # A subclass that trains in another way has another loss.
    if not isinstance(model, PPO | A2C) or type(model).train not in (PPO.train, A2C.train):
        raise ValueError(
            f"NoiseScaleCallback knows the losses of Stable-Baselines3's PPO and A2C, not that of {name}"
        )
    for layer, module in model.policy.named_modules():
        if isinstance(module, _BatchNorm):
            raise ValueError(
                f"samples are not independent through BatchNorm: replace the policy's '{layer}' by LayerNorm "
                "or GroupNorm, or train without NoiseScaleCallback"
            )
    return model


def _samples(buffer: RolloutBuffer, environments: slice) -> RolloutBufferSamples:
    """What `buffer.get` would yield of these environments, each one's rows together in the order of time."""
    rows = np.arange(environments.start * buffer.buffer_size, environments.stop * buffer.buffer_size)
    if buffer.generator_ready:  # another callback had its samples: SB3 has flattened the buffer
        return buffer._get_samples(rows)
    part = copy.copy(buffer)
    for name in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
        data = getattr(buffer, name)
        if isinstance(data, dict):
            setattr(part, name, {k: buffer.swap_and_flatten(v[:, environments]) for k, v in data.items()})
        else:
            setattr(part, name, buffer.swap_and_flatten(data[:, environments]))
    return part._get_samples(rows - rows[0])


def _parts(groups: int, rows: int) -> int:
    """The fewest equal parts of the batch, of two groups or more, that have at most ROWS_AT_ONCE rows."""
    choices = [c for c in range(1, groups // 2 + 1) if groups % c == 0]
    return next((c for c in choices if rows <= c * ROWS_AT_ONCE), choices[-1])


@contextmanager
def _left_as_it_was(policy: nn.Module) -> Iterator[None]:
    """In training mode, as SB3 trains, with no gradient; afterwards all is as before, random states too."""
    grads = [(p, p.grad) for p in policy.parameters()]
    modes = [(m, m.training) for m in policy.modules()]
    # A layer may keep a state of its forward passes, in its buffer or by assigning another in its place.
    buffers = [
        (owned, name, buffer, None if buffer is None else buffer.clone())
        for module in policy.modules()
        for owned in (module._buffers,)
        for name, buffer in owned.items()
    ]
    device = grads[0][0].device
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002 - layers draw from the global one
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        try:
            policy.train()
            for p, _ in grads:
                p.grad = None
            yield
        finally:
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])  # noqa: NPY002
            for p, grad in grads:
                p.grad = grad
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for owned, name, buffer, before in buffers:
                    owned[name] = buffer
                    if buffer is not None and before is not None:
                        buffer.copy_(before)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, got {value}")
    return number


def _columns(reading: NoiseScale) -> dict[str, float]:
    value = math.nan if reading.value is None else reading.value
    return dict(zip(COLUMNS, (value, *reading[1:5]), strict=True))
