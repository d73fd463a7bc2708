"""Single frames give back the stacks they were written as."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.frames import Frames, Stacks
from agents.rollout import Batch


def played(steps: int, streams: int, depth: int, ends: torch.Tensor, seed: int) -> torch.Tensor:
    """[T, N, K, 2, 3] stacks as an environment makes them, one decision after another."""
    generator = torch.Generator().manual_seed(seed)

    def frame() -> torch.Tensor:
        return torch.randint(1, 256, (streams, 2, 3), dtype=torch.uint8, generator=generator)

    stack = torch.stack([frame() for _ in range(depth)], 1)
    stack[0, : depth // 2] = 0  # an episode that is young when the rollout begins
    seen = []
    for t in range(steps):
        seen.append(stack)
        stack = torch.cat([stack[:, 1:], frame()[:, None]], 1)
        stack[ends[t], :-1] = 0
    return torch.stack(seen)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1.0]), st.data())
def test_stacks_are_those_that_were_written(
    steps: int, streams: int, depth: int, share: float, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    store = Frames(steps, streams, (depth, 2, 3), torch.uint8, torch.device("cpu"))
    for rollout in range(2):  # the second into the same storage
        ends = torch.rand(steps, streams, generator=generator) < share
        obs = played(steps, streams, depth, ends, rollout)
        middle = streams // 2
        for t in range(steps):
            for rows in (slice(0, middle), slice(middle, streams)):
                store.write(t, rows, obs[t, rows])
        stacks = store.stacks(ends)
        assert len(stacks) == steps
        assert torch.equal(stacks.tensor(), obs)
        assert torch.equal(stacks[:, :middle].tensor(), obs[:, :middle])
        flat = stacks.transpose(0, 1).flatten(0, 1)
        expected = obs.transpose(0, 1).flatten(0, 1)
        order = torch.randperm(len(flat), generator=generator)
        assert torch.equal(flat[order].tensor(), expected[order])


def test_a_batch_of_stacks_is_indexed_like_one_of_observations() -> None:
    ends = torch.zeros(5, 3, dtype=torch.bool)
    ends[2, 1] = True
    obs = played(5, 3, 4, ends, 0)
    store = Frames(5, 3, (4, 2, 3), torch.uint8, torch.device("cpu"))
    for t in range(5):
        store.write(t, slice(None), obs[t])
    numbers = torch.arange(15.0).view(5, 3)
    kept, whole = (Batch(o, *[numbers] * 5) for o in (store.stacks(ends), obs))
    assert isinstance(kept.obs, Stacks)
    for a, b in ((kept, whole), (kept.flat(), whole.flat()), (kept[:, 1:].flat(), whole[:, 1:].flat())):
        assert torch.equal(a.observations(), b.observations())
        assert torch.equal(a.value, b.value)


def test_frames_take_a_quarter_of_long_rollouts_of_four() -> None:
    store = Frames(128, 1024, (4, 84, 84), torch.uint8, torch.device("meta"))
    assert store.nbytes == (1024 * 131 + 1) * 84 * 84
    assert 128 * 1024 * 4 * 84 * 84 / store.nbytes > 3.9
