"""A compiled torso computes what the layers do, for the sizes it was made for, and steps aside where asked."""

import copy
import shutil
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from agents.compilation import compile_torso
from agents.networks import make_policy
from agents.precision import plainly
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

PICTURES, ACTIONS = gymnasium.spaces.Box(0, 255, (4, 36, 36), np.uint8), gymnasium.spaces.Discrete(6)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def pictures(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, 4, 36, 36), dtype=torch.uint8, generator=generator)


def gradient(policy: torch.nn.Module, rows: int) -> Tensor:
    policy.zero_grad()
    distribution, value = policy(pictures(rows))
    (distribution.log_probs.square().mean() + value.square().mean()).backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


@needs_compiler
def test_it_computes_what_the_layers_do_and_steps_aside() -> None:
    policy = make_policy("nature", PICTURES, ACTIONS, seed=1)
    names = set(policy.state_dict())
    with torch.no_grad():
        expected = policy(pictures(5))[1]
    wanted = gradient(policy, 7)
    compile_torso(policy, pictures(1), acting=[5], learning=[7])
    assert all(p.grad is None for p in policy.parameters())
    assert set(policy.state_dict()) == names
    used: list[int] = []
    inner = policy.compiled_torso

    def spy(obs: Tensor) -> Tensor:
        used.append(len(obs))
        return inner(obs)

    object.__setattr__(policy, "compiled_torso", spy)
    with torch.no_grad():
        torch.testing.assert_close(policy(pictures(5))[1], expected, rtol=1e-4, atol=1e-5)
        policy(pictures(6))
        with plainly(policy):
            assert torch.equal(policy(pictures(5))[1], expected)
    torch.testing.assert_close(gradient(policy, 7), wanted, rtol=1e-3, atol=1e-5)
    assert used == [5, 7]


def compilations() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@needs_compiler
def test_no_size_is_left_to_the_layers_whatever_torch_allows() -> None:
    before = compilations()
    with torch._dynamo.config.patch(recompile_limit=1):
        compile_torso(make_policy("nature", PICTURES, ACTIONS), pictures(1), acting=[2, 3], learning=[])
    assert compilations() == before + 2


@needs_compiler
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"precision": "bf16"}, marks=pytest.mark.slow),
        {"overlap": "act"},
        {"overlap": "learn"},
    ],
    ids=str,
)
def test_nothing_is_compiled_in_the_middle_of_a_run(options: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"env": "atari:pong", "num_envs": 4, "threads": 2, "rollout": 2}
    settings |= {"algo": "ppo", "epochs": 1, "minibatches": 1, **options}
    threads, trainer = torch.get_num_threads(), Trainer(resolve(TrainConfig(compile=True, **settings)))
    try:
        compiled = compilations()
        for _ in range(2):
            trainer.update()
        assert compilations() == compiled > 0
    finally:
        trainer.close()
        torch.set_num_threads(threads)


@needs_compiler
@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_a_run_learns_as_without_it(algo: str) -> None:
    settings: dict[str, Any] = {"env": "atari:pong", "num_envs": 4, "threads": 1, "noise_budget": 1.0}
    settings |= {"rollout": 4, "epochs": 1, "minibatches": 2}
    found = []
    for compiled in (False, True):
        trainer = Trainer(resolve(TrainConfig(algo=algo, compile=compiled, **settings)))
        try:
            for _ in range(2):
                trainer.update()
            found.append((copy.deepcopy(trainer.policy.state_dict()), trainer.meter.read()))
            if compiled:
                assert trainer.policy.compiled_sizes == ({4, 8} if algo == "ppo" else {4})
        finally:
            trainer.close()
    for name, weights in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], weights, rtol=1e-3, atol=1e-5)
    assert found[1][1].noise == pytest.approx(found[0][1].noise, rel=1e-3)


def test_where_it_can_not_be_used_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nature and impala"):
        Trainer(resolve(TrainConfig(env="gym:CartPole-v1", compile=True)))

    def broken(*_: Any, **__: Any) -> Any:
        def fail(obs: Tensor) -> Tensor:
            raise RuntimeError("\nno working C++ compiler\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ValueError, match="compile can't be used here: no working C") as caught:
        compile_torso(make_policy("nature", PICTURES, ACTIONS), pictures(1), [2], [])
    assert "\n" not in str(caught.value)
