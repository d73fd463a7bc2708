"""What a rollout takes is computed without taking it."""

import gc
import weakref

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.rollout import Rollout
from rl_gns.errors import UserError
from rl_gns.training.memory import pass_bytes, refuse_if_too_big, rollout_bytes

SPACES = (spaces.Box(-9, 9, (492,), np.int16), spaces.MultiDiscrete([10, 24, 8]))


def test_the_size_is_that_of_the_storage() -> None:
    real = Rollout.empty(3, 5, *SPACES, torch.device("cpu"))
    assert real.obs.dtype == torch.int16
    assert rollout_bytes(3, 5, *SPACES) == sum(tensor.nbytes for tensor in real.state_dict().values())
    # Observation, action of three parts, four float32, two flags; a last value a stream.
    assert rollout_bytes(3, 5, *SPACES) == 15 * (2 * 492 + 24 + 4 * 4 + 2) + 5 * 4


def test_too_big_is_refused_with_what_fits() -> None:
    cpu = torch.device("cpu")
    refuse_if_too_big(64, 1000, *SPACES, cpu, free=1 << 30)
    with pytest.raises(UserError, match=r"takes 61\.\d GiB, 1\.0 GiB are free on cpu: use rollout 1 or") as e:
        refuse_if_too_big(64, 1_000_000, *SPACES, cpu, free=1 << 30)
    assert "\n" not in str(e.value)
    need = rollout_bytes(64, 1000, *SPACES)
    with pytest.raises(UserError, match="use rollout 7 or less"):
        refuse_if_too_big(64, 1000, *SPACES, cpu, free=need * 7 // 64 + 1000)


def test_looking_at_a_pass_leaves_no_graph_behind() -> None:
    """A graph that lives on keeps the stream of every weight's gradient, which breaks a later capture on a GPU."""
    policy, kept = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)), []
    policy[1].register_forward_hook(lambda layer, inputs, output: kept.append(weakref.ref(output)))
    gc.disable()  # what waits for the collector counts as left behind
    try:
        assert pass_bytes(policy, torch.zeros(5, 3)) > 0
        assert [output() for output in kept] == [None]
    finally:
        gc.enable()


def test_two_rollouts_need_twice_as_much() -> None:
    """One is collected while the other is learnt from."""
    cpu, each = torch.device("cpu"), rollout_bytes(64, 1000, *SPACES)
    refuse_if_too_big(64, 1000, *SPACES, cpu, free=2 * each, count=2)
    with pytest.raises(
        UserError, match=r"2 rollouts of 64 decisions of 1000 streams take .* use rollout 32 or"
    ):
        refuse_if_too_big(64, 1000, *SPACES, cpu, free=each + 1000, count=2)
