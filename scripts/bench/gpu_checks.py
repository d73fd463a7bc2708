"""Whether a GPU computes what the CPU does: losses, gradients, moments, steps, the lane-battle world, exact resume.

Each check returns {"ok": …, and what was compared}. It knows nothing of speed. On `cpu` every check compares the
CPU with itself, which shows that the check runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stress import difference
from torch import Tensor, nn

import envs
import rl_gns
from agents import a2c, ppo
from agents.acting import act, make_actor
from agents.compilation import compile_torso
from agents.frames import Frames
from agents.graphs import graphed_gradient
from agents.networks import make_policy
from agents.precision import use_bfloat16
from agents.recall import Recall
from agents.rollout import Batch, Rollout
from envs.moba.opponents import Scripted
from rl_gns.training.measuring import MeasuringBackward

PICTURES, ACTIONS = spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6)
TOLERANCE = 2e-4
"""Largest difference allowed, relative to the largest entry: float32 sums in another order, TF32 off."""


@contextmanager
def no_tf32() -> Iterator[None]:
    """Products in full float32, which is what can be compared."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def policy_on(device: str) -> nn.Module:
    """The same weights on any device."""
    return make_policy("nature", PICTURES, ACTIONS, seed=1).to(device)


def rollout_on(device: str, steps: int, streams: int) -> Rollout:
    """The same random rollout on any device, episodes' ends and cuts in it."""
    generator = torch.Generator().manual_seed(7)
    full = Rollout.empty(steps, streams, PICTURES, ACTIONS, torch.device(device))
    assert isinstance(full.obs, Tensor)
    full.obs.copy_(torch.randint(0, 256, full.obs.shape, dtype=torch.uint8, generator=generator))
    full.actions.copy_(torch.randint(0, 6, (steps, streams), generator=generator))
    for name in ("value", "reward"):
        getattr(full, name).copy_(torch.randn(steps, streams, generator=generator))
    full.log_prob.copy_(-1.8 + 0.05 * torch.randn(steps, streams, generator=generator))
    full.terminated.copy_(torch.rand(steps, streams, generator=generator) < 0.1)
    full.truncated.copy_((torch.rand(steps, streams, generator=generator) < 0.1) & ~full.terminated.cpu())
    full.bootstrap.copy_(torch.randn(steps, streams, generator=generator) * full.truncated.cpu())
    full.last_value.copy_(torch.randn(streams, generator=generator))
    return full


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest entry."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


def quantities(device: str, algo: str, steps: int, streams: int) -> dict[str, Tensor]:
    """Everything an update computes, by name."""
    policy, rollout = policy_on(device), rollout_on(device, steps, streams)
    settings: Any = a2c.Settings() if algo == "a2c" else ppo.Settings()
    batch: Batch = rollout.batch(0.99, settings.gae_lambda)
    found = {"advantage": batch.advantage, "returns": batch.returns}
    backward = MeasuringBackward(policy, streams, streams // 2)
    if algo == "a2c":
        recall = Recall(policy, steps, streams)
        with torch.no_grad():
            for t in range(steps):
                with recall.recording(t):
                    policy(batch.observations()[t])
        optimizer = a2c.make_optimizer(policy, settings)
        with recall.replaying():
            stats = a2c.update(policy, optimizer, batch, settings, backward=backward)
    else:
        ppo.measure(policy, batch, settings, backward=backward)
        found["gradient"] = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
        optimizer = ppo.make_optimizer(policy, settings)
        stats = ppo.update(policy, optimizer, batch, settings, generator=torch.Generator().manual_seed(3))
    assert backward.moments is not None
    found["moments"] = torch.tensor([backward.moments.signal, backward.moments.noise])
    names = ("policy_loss", "value_loss", "entropy", "grad_norm")
    found |= {name: torch.tensor([stats[name]]) for name in names}
    before = policy_on("cpu")
    found["step"] = torch.cat(
        [
            (p.detach().cpu() - q.detach()).flatten()
            for p, q in zip(policy.parameters(), before.parameters(), strict=True)
        ]
    )
    return found


def learning(device: str, algo: str, steps: int = 8, streams: int = 16) -> dict[str, Any]:
    """One update of the same rollout with the same weights, on the CPU and on the device.

    Adam's first step is ±rate wherever a gradient is tiny, so PPO's step is compared by its direction.
    """
    with no_tf32():
        here, there = quantities("cpu", algo, steps, streams), quantities(device, algo, steps, streams)
    apart = {name: distance(there[name], here[name]) for name in here if name != "step"}
    along = float(torch.nn.functional.cosine_similarity(there["step"], here["step"], 0))
    worst = max(apart, key=lambda name: apart[name])
    return {
        "ok": apart[worst] < TOLERANCE and along > 0.999,
        "largest difference": apart[worst],
        "of": worst,
        "cosine of the steps": along,
    }


def bfloat16(device: str, rows: int = 64) -> dict[str, Any]:
    """The gradient with a bfloat16 torso against float32's, on the device."""
    obs = torch.randint(
        0, 256, (rows, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    gradients = []
    for low in (False, True):
        policy = policy_on(device)
        if low:
            use_bfloat16(policy)
        distribution, value = policy(obs.to(device))
        (distribution.log_probs.square().mean() + value.square().mean()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    along = float(torch.nn.functional.cosine_similarity(*gradients, 0))
    return {"ok": along > 0.99 and not torch.equal(*gradients), "cosine of the gradients": along}


def lane_battle(device: str, name: str, worlds: int, decisions: int) -> dict[str, Any]:
    """The worlds of `moba:NAME` on both, a script against random numbers in each: every byte that comes back.

    The scripts play on either device for themselves, so what they decide is compared too.
    """
    ended = 0
    pair = [envs.make(f"moba:{name}", worlds, where, seed=5, game_length=120) for where in ("cpu", device)]
    scripts = [Scripted(script, pair[0].layout) for script in ("bully", "laner")]  # type: ignore[arg-type]
    rng, half = np.random.default_rng(0), pair[0].agents_per_env // 2
    for decision in range(decisions):
        drawn = torch.from_numpy(
            rng.integers(0, pair[0].action_space.nvec, (worlds, 2 * half, 3))  # type: ignore[attr-defined]
        )
        steps = []
        for env in pair:
            obs = env.observation().view(worlds, 2 * half, -1)
            actions = drawn.to(env.device)
            for side, script in enumerate(scripts):  # of the first team in even worlds, of the second in odd
                seats = actions[side::2, side * half : (side + 1) * half]
                seen = obs[side::2, side * half : (side + 1) * half].flatten(0, 1)
                seats.copy_(script(seen).view(seats.shape))
            steps.append(env.step(actions.view(-1, 3)))
        here, there = steps
        ended += int(here.terminated.sum()) // (2 * half)
        for field in ("obs", "reward", "terminated", "truncated", "score", "length"):
            if not torch.equal(getattr(here, field).nan_to_num(9), getattr(there, field).cpu().nan_to_num(9)):
                return {"ok": False, "differs": f"moba:{name}, decision {decision}, {field}"}
    whole = [env.state_dict() for env in pair]
    for key in pair[0].state:  # type: ignore[attr-defined]
        if not torch.equal(whole[0][key], whole[1][key]):
            return {"ok": False, "differs": f"moba:{name}, {key} at the end"}
    for env in pair:
        env.close()
    what = f"{worlds} worlds, {decisions} decisions, {ended} games ended, bit for bit"
    return {"ok": True, "compared": what}


def frames(device: str, steps: int = 16, streams: int = 8) -> dict[str, Any]:
    """Stacks gathered on the device from single frames against those gathered on the CPU, bit for bit."""
    generator, found = torch.Generator().manual_seed(3), []
    obs = torch.randint(0, 256, (steps, streams, 4, 84, 84), dtype=torch.uint8, generator=generator)
    ended = torch.rand(steps, streams, generator=generator) < 0.2
    order = torch.randperm(steps * streams, generator=generator)
    for where in ("cpu", device):
        store = Frames(steps, streams, (4, 84, 84), torch.uint8, torch.device(where))
        for t in range(steps):
            store.write(t, slice(None), obs[t].to(where))
        stacks = store.stacks(ended.to(where)).transpose(0, 1).flatten(0, 1)
        found.append(stacks[order.to(where)].tensor().cpu())
    return {"ok": torch.equal(*found), "compared": f"{steps * streams} stacks, bit for bit"}


def compiled(device: str, rows: int = 64) -> dict[str, Any]:
    """The gradient through a compiled torso against that through the layers, on the device."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(0, 256, (rows, 4, 84, 84), dtype=torch.uint8, generator=generator).to(device)
    gradients = []
    with no_tf32():
        for fast in (False, True):
            policy = policy_on(device)
            if fast:
                compile_torso(policy, obs[:1], [], [rows])
            distribution, value = policy(obs)
            (distribution.log_probs.square().mean() + value.square().mean()).backward()
            gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    apart = distance(gradients[1], gradients[0])
    return {"ok": apart < TOLERANCE, "largest difference": apart}


def acting(device: str, rows: int = 64, times: int = 5) -> dict[str, Any]:
    """What acts in training (on a GPU a CUDA graph) against the same calls one by one, bit for bit, weights moving."""
    found = []
    for graphed in (False, True):
        policy, generator = policy_on(device), torch.Generator(device).manual_seed(1)
        pictures = torch.Generator().manual_seed(0)
        obs = torch.randint(0, 256, (times, rows, 4, 84, 84), dtype=torch.uint8, generator=pictures).to(
            device
        )
        actor = make_actor(policy, generator, obs[0, :1].clone(), [rows])
        seen: list[Tensor] = []
        for each in obs:
            with torch.no_grad():
                acted = actor(each, generator) if graphed else act(policy, each, generator)
                seen += [x.double().clone() for x in acted]
                for p in policy.parameters():
                    p.mul_(1.01)
        found.append([*seen, generator.get_state()])
    same = all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in zip(*found, strict=True))
    return {"ok": same, "largest difference": largest}


def minibatches(device: str, rows: int = 64) -> dict[str, Any]:
    """PPO's epochs with what computes minibatches in training (on a GPU a graph) against the calls one by one."""
    settings, found = ppo.Settings(epochs=3), []
    for graphed in (False, True):
        policy, batch = policy_on(device), rollout_on(device, 8, rows // 2).batch(0.99, 0.95)
        optimizer = ppo.make_optimizer(policy, settings)
        blank = torch.zeros(1, 4, 84, 84, dtype=torch.uint8, device=device)
        take = (
            graphed_gradient(policy, settings, blank, rows) if graphed and device != "cpu" else ppo.gradient
        )
        order = torch.Generator(device).manual_seed(3)
        stats = ppo.update(policy, optimizer, batch, settings, generator=order, take_gradient=take)
        weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
        found.append(torch.cat([weights, torch.tensor(list(stats.values()), device=device)]))
    return {"ok": torch.equal(*found), "largest difference": float((found[0] - found[1]).abs().max())}


def resume(device: str, algo: str, observations: int, **settings: Any) -> dict[str, Any]:
    """A Pong run stopped halfway and resumed against one in one go, bit for bit."""
    common: dict[str, Any] = {
        "env": "atari:pong",
        "algo": algo,
        "num_envs": 8,
        "rollout": 5 if algo == "a2c" else 16,
        "device": device,
        "log_every": observations // 8,
        "checkpoint_every": observations // 4,
        "tensorboard": False,
        **settings,
    }
    with tempfile.TemporaryDirectory() as folder:
        whole, halves = Path(folder, "whole"), Path(folder, "halves")
        rl_gns.train(rl_gns.TrainConfig(**common, observations=observations), whole, quiet=True)
        rl_gns.train(rl_gns.TrainConfig(**common, observations=observations // 2), halves, quiet=True)
        again = rl_gns.TrainConfig(**common, observations=observations)
        rl_gns.train(again, halves, resume=True, quiet=True)
        found = difference(halves, whole)
    return {"ok": not found, "differs": "; ".join(found) or "nothing", "observations": observations}


def parts(device: str, algo: str) -> dict[str, Any]:
    """Two updates of CartPole with every part of the noise and the correlation measured: all come out finite."""
    named = "policy,value,entropy,total,layers,optimizer,hessian,fisher,line-search"
    config = rl_gns.TrainConfig(
        **{"env": "gym:CartPole-v1", "algo": algo, "num_envs": 16, "rollout": 8, "observations": 512},
        **{"noise_parts": named + (",epochs" if algo == "ppo" else ""), "noise_parts_every": 1},
        **{"correlation_every": 1, "noise_budget": 1.0, "log_every": 256, "tensorboard": False},
        device=device,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = rl_gns.train(config, Path(folder, "run"), quiet=True)
        found, along = run.noise_parts(), run.correlation()
    finite = bool(np.isfinite(found[["signal", "noise"]].dropna().to_numpy()).all()) and len(along) > 0
    names = sorted({name.split("/")[0] for name in found["part"]})
    wanted = sorted(config.parts)
    return {"ok": finite and names == wanted, "parts": ",".join(names), "rows": len(found) + len(along)}


def checks(device: str, tiny: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Name -> check."""
    steps, streams = (2, 4) if tiny else (8, 16)
    moment = 512 if tiny else 20_480
    return {
        "moba:1v1 worlds": lambda: lane_battle(device, "1v1", *((4, 5) if tiny else (16, 2000))),
        "moba:5v5 worlds": lambda: lane_battle(device, "5v5", *((4, 5) if tiny else (16, 2000))),
        "ppo resumed, learning beside playing": lambda: resume(device, "ppo", moment, overlap="learn"),
        "ppo resumed": lambda: resume(device, "ppo", moment),
        "a2c resumed": lambda: resume(device, "a2c", 320 if tiny else 20_480),
        "compiled torso": lambda: compiled(device, 8 if tiny else 64),
        "a2c: losses, gradient, moments, step": lambda: learning(device, "a2c", steps, streams),
        "ppo: losses, gradient, moments, steps": lambda: learning(device, "ppo", steps, streams),
        "bfloat16 gradient": lambda: bfloat16(device, 8 if tiny else 64),
        "acting": lambda: acting(device, 4 if tiny else 64),
        "a2c: parts of the noise, correlation": lambda: parts(device, "a2c"),
        "ppo: parts of the noise, correlation": lambda: parts(device, "ppo"),
        "single frames": lambda: frames(device),
        "minibatches": lambda: minibatches(device, 4 if tiny else 64),
    }
