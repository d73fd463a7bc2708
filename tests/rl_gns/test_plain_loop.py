"""The plain PyTorch example against all per-sample gradients, and what docs/other_loops.md says of advantages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from rl_gns.noise import moments

SCRIPT = Path(__file__).parents[2] / "scripts" / "examples" / "plain_pytorch.py"
BATCHES = 400


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_pytorch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def per_sample_gradients(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """[examples, parameters], in float64."""
    parameters = {name: p.detach().double() for name, p in network.named_parameters()}

    def loss(p: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, p, (one[None],)), label[None])

    grads = vmap(grad(loss), (None, 0, 0))(parameters, x.double(), y)
    return torch.cat([g.flatten(1) for g in grads.values()], 1)


def trajectory(example: ModuleType, steps: int) -> Iterator[nn.Module]:
    """The network as `train` has it before each step and after the last, by a plain loop."""
    x, y = example.digits()
    network, g = example.make_network(), torch.Generator().manual_seed(0)
    for _ in range(steps):
        yield network
        batch = torch.randint(len(x), (example.BATCH,), generator=g)
        network.zero_grad()
        F.cross_entropy(network(x[batch]), y[batch]).backward()
        with torch.no_grad():
            for p in network.parameters():
                p -= 0.1 * p.grad
    yield network


@pytest.mark.parametrize("units", ["groups", "examples"])
@pytest.mark.parametrize("steps", [0, 60])
def test_measured_equals_exact_at_fixed_weights(example, units, steps):
    *_, network = trajectory(example, steps)
    x, y = example.digits()
    all_gradients = per_sample_gradients(network, x, y)
    signal = float(all_gradients.mean(0).square().sum())
    noise = float((all_gradients - all_gradients.mean(0)).square().sum(1).mean())
    g = torch.Generator().manual_seed(11)
    unit = example.BATCH // example.GROUPS if units == "groups" else 1
    found = []
    for _ in range(BATCHES):
        batch = torch.randint(len(x), (example.BATCH,), generator=g)
        moments = example.measured_backward(network, x, y, batch, units)
        found.append((moments.signal, moments.noise * unit))
    mean, error = np.mean(found, 0), np.std(found, 0) / BATCHES**0.5
    assert (error < [0.08 * signal, 0.03 * noise]).all()  # or agreement would mean little
    assert (np.abs(mean - [signal, noise]) < 3.5 * error).all()
    assert mean[1] / mean[0] == pytest.approx(noise / signal, rel=0.25)


@pytest.mark.parametrize("units", ["groups", "examples"])
def test_leaves_the_gradient_of_a_plain_backward(example, units):
    x, y = example.digits()
    network, batch = example.make_network(), torch.arange(example.BATCH)
    F.cross_entropy(network(x[batch]), y[batch]).backward()
    expected = [p.grad.clone() for p in network.parameters()]
    for _ in range(2):  # the second finds a gradient there
        example.measured_backward(network, x, y, batch, units)
        for p, g in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-7)


def test_the_loop_reads_the_noise_scale_of_the_weights_it_passed(example):
    """Ratio of the exact noise and signal at every fifth step, averaged with the meter's weights."""
    steps = 100
    x, y = example.digits()
    exact = []
    for step, network in enumerate(trajectory(example, steps)):
        if step % 5 != 2 or step == steps:
            continue
        g = per_sample_gradients(network, x, y)
        mean = g.mean(0)
        noise, signal = (g - mean).square().sum(1).mean(), mean.square().sum()
        exact.append((0.5 ** ((steps - step) / 50) * torch.stack([noise, signal])).tolist())
    noise, signal = np.sum(exact, 0)
    readings = []
    for units in ("groups", "examples"):
        *_, last = example.train(steps, units)
        assert last.loss < 0.7
        assert last.noise.low < noise / signal < last.noise.high
        assert last.noise.value == pytest.approx(noise / signal, rel=0.25)
        assert last.noise.observations == steps * example.BATCH
        readings.append(last.noise.value)
    assert readings[0] == pytest.approx(readings[1], rel=0.1)


def test_runs_as_a_command():
    command = [sys.executable, str(SCRIPT), "--steps", "100", "--units", "examples"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("step   100  loss ")


def bandit_moments(n: int, normalise: str) -> tuple[float, float]:
    """Expected signal and noise of n units of five pulls, by simulation, with advantages normalised that way."""
    rng = np.random.default_rng(n)
    p, reward = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.3, 0.5, 0.8, -0.7])
    actions = rng.choice(4, size=(400_000 // n, n, 5), p=p)
    a = reward[actions] + 0.5 * rng.standard_normal(actions.shape)
    if normalise == "not by data":
        mean = p @ reward
        a = (a - mean) / np.sqrt(p @ (reward - mean) ** 2 + 0.25)
    else:
        over = (1, 2) if normalise == "over all" else (2,)
        a = (a - a.mean(over, keepdims=True)) / a.std(over, ddof=1, keepdims=True)
    g = (a[..., None] * (np.eye(4) - p)[actions]).mean(2)
    found = [moments(q_i, q) for q_i, q in zip((g**2).sum(2), (g.mean(1) ** 2).sum(1), strict=True)]
    signal, noise, _ = np.mean(found, 0)
    return float(signal), float(noise)


@pytest.mark.parametrize(("n", "excess"), [(4, 0.10), (8, 0.05), (32, 0.0125)])
def test_normalising_advantages_over_all_units_costs_one_over_n(n, excess):
    signal, noise = bandit_moments(n, "not by data")
    tied_signal, tied_noise = bandit_moments(n, "over all")
    assert tied_noise / tied_signal == pytest.approx((1 + excess) * noise / signal, rel=0.025)
    within_signal, within_noise = bandit_moments(n, "within units")
    assert within_noise / within_signal > 1.12 * noise / signal  # at any n


def test_the_page_s_example_runs_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "other_loops.md").read_text(encoding="utf-8")
    code = page.partition("## Plain PyTorch")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    reading = names["meter"].read()
    assert capsys.readouterr().out.strip() == str(reading)
    # The gradient of an example is 2 (δ·x + e) x, x 20 standard normals and a 1: |G|² = 4 |δ|² and
    # tr Σ = 4 (22 |δ|² + 21). δ shrinks, so what is left of it bounds the noise scale from above.
    with torch.no_grad():
        left = float((names["truth"] - names["net"].weight[0]).square().sum() + names["net"].bias[0] ** 2)
    assert 22 < reading.low < reading.value < (22 * left + 21) / left


def test_the_page_s_jax_example_runs_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Where JAX is installed: what is left of the weights' error bounds the noise scale, as above without a bias."""
    pytest.importorskip("jax")
    page = (Path(__file__).parents[2] / "docs" / "other_loops.md").read_text(encoding="utf-8")
    code = page.partition("## JAX")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    reading = names["meter"].read()
    assert capsys.readouterr().out.strip() == str(reading)
    left = float(((names["weights"] - names["truth"]) ** 2).sum())
    assert 21 < reading.low < reading.value < (21 * left + 20) / left
