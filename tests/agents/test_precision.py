"""bfloat16 in the torso: near float32, switched off while measuring, remembered outputs included."""

import gymnasium
import numpy as np
import pytest
import torch

from agents.networks import make_policy
from agents.precision import plainly, use_bfloat16
from agents.recall import Recall

PICTURES, ACTIONS = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8), gymnasium.spaces.Discrete(6)


def pictures(rows: int = 6) -> torch.Tensor:
    return torch.randint(
        0, 256, (rows, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("network", ["nature", "impala"])
def test_near_float32_but_not_equal_and_float32_outside(network: str) -> None:
    policy = make_policy(network, PICTURES, ACTIONS, seed=1)
    exact, value = policy(pictures())
    largest = float(value.detach().abs().max())
    use_bfloat16(policy)
    rough, rough_value = policy(pictures())
    assert rough.log_probs.dtype == rough_value.dtype == torch.float32
    assert not torch.equal(value, rough_value)
    torch.testing.assert_close(rough.log_probs, exact.log_probs, rtol=0, atol=5e-3)
    torch.testing.assert_close(rough_value, value, rtol=0, atol=0.02 * largest + 5e-3)
    with plainly(policy):
        assert torch.equal(policy(pictures())[1], value)
    assert torch.equal(policy(pictures())[1], rough_value)


def test_gradients_point_the_same_way_and_are_float32() -> None:
    policy = make_policy("nature", PICTURES, ACTIONS, seed=1)

    def gradient() -> torch.Tensor:
        policy.zero_grad()
        distribution, value = policy(pictures(16))
        (distribution.log_probs.square().mean() + value.square().mean()).backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in policy.parameters())
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    exact = gradient()
    use_bfloat16(policy)
    rough = gradient()
    assert float(torch.nn.functional.cosine_similarity(exact, rough, 0)) > 0.99
    assert float(rough.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


def test_outputs_remembered_in_bfloat16_serve_a_float32_backward_pass() -> None:
    policy = make_policy("nature", PICTURES, ACTIONS, seed=1)
    use_bfloat16(policy)
    recall, obs = Recall(policy, 2, 3), pictures(6).view(3, 2, 4, 84, 84)
    acted = []
    with torch.no_grad():
        for t in range(2):
            with recall.recording(t):
                acted.append(policy(obs[:, t])[1])
    with recall.replaying(), plainly(policy):
        value = policy(obs.flatten(0, 1))[1]
        value.sum().backward()
    torch.testing.assert_close(value.view(3, 2).T, torch.stack(acted), rtol=1e-5, atol=1e-5)
    assert all(p.grad.dtype == torch.float32 for p in policy.torso.parameters())


def test_networks_without_a_torso_are_refused() -> None:
    vector = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    with pytest.raises(ValueError, match="nature and impala"):
        use_bfloat16(make_policy("mlp", vector, ACTIONS))
