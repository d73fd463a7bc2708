"""What the tables of a measurement's cost say, by hand; and that all its ways measure one rollout."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from gymnasium import spaces


def test_ratios_are_of_neighbours_and_the_warm_up_is_not_among_them(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that slows down by the round a loop takes 1, 2, 3 and 9 times the plain update."""
    import noise_cost

    order: list[str] = []
    pace, times = [1e3, 10.0, 20.0, 30.0, 40.0], [1e3, 1.0, 2.0, 3.0, 9.0]  # a warm-up, four rounds

    def update(name: str) -> None:
        number = len(order) // 4
        clock.now += pace[number] * (times[number] if name == "loop" else 1.0)
        order.append(name)

    found = {name: functools.partial(update, name) for name in ("plain", "loop")}
    monkeypatch.setattr(noise_cost, "contenders", lambda *_: found)
    rows = noise_cost.measure(torch.nn.Linear(1, 1), "mlp", 2, 2, 4, clock.process_time)
    odd, even = ["plain", "plain", "plain", "loop"], ["plain", "plain", "loop", "plain"]
    assert order == [*odd, *even, *odd, *even, *odd]  # either is the second as often
    assert rows["plain"] == {"ms": 25e3, "ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}
    assert rows["loop"] == {"ms": 65e3, "ratio": 2.5, "ratio_low": 1.75, "ratio_high": 4.5}


def test_all_ways_measure_the_same_rollout() -> None:
    import noise_cost

    from agents.networks import make_policy

    space = spaces.Box(0, 255, noise_cost.SHAPES["mlp"], "uint8")
    policy = make_policy("mlp", space, spaces.Discrete(6))
    ways = noise_cost.contenders(policy, "mlp", 3, 8)
    kinds = ("one pass", "units first", "torch.func")
    assert set(ways) == {"plain", *(f"{kind} {k}" for kind in ("loop", *kinds) for k in (4, 8)), "loop 2"}

    def gradient(way: str) -> torch.Tensor:
        policy.zero_grad(set_to_none=True)
        ways[way]()
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    plain = gradient("plain")
    for way in ways:
        if not way.startswith("torch.func"):
            torch.testing.assert_close(gradient(way), plain, rtol=1e-4, atol=1e-6)
    for k in (4, 8):
        wanted = ways[f"loop {k}"]()
        assert wanted.units == k
        for kind in kinds:
            found = ways[f"{kind} {k}"]()
            assert (found.signal, found.noise) == pytest.approx((wanted.signal, wanted.noise), rel=1e-3)
