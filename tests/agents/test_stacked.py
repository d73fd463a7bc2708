"""Networks in one pass against each of them alone."""

import pytest
import torch
from torch import Tensor

import envs
from agents.distributions import Branching, Categorical, Discrete, Joint, Share
from agents.memory import Seen, memory_size
from agents.networks import make_policy
from agents.stacked import Stacked

NETWORKS, STREAMS = 3, 20


@pytest.fixture(scope="module")
def world() -> envs.BatchedEnv:
    env = envs.make("moba:1v1", STREAMS // 2, "cpu", 0, threads=1)
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor(env.action_space.nvec)  # type: ignore[attr-defined]
    for _ in range(200):
        env.step((torch.rand(STREAMS, 3, generator=generator) * sizes).long())
    return env


@pytest.mark.parametrize("network", ["entities", "entities-lstm", "mlp"])
@pytest.mark.parametrize("seats", ["mixed", "one only", "a network idle"])
def test_each_row_is_its_networks_alone(world: envs.BatchedEnv, network: str, seats: str) -> None:
    policies = [
        make_policy(network, world.observation_space, world.action_space, seed, world.layout)
        for seed in range(NETWORKS)
    ]
    stacked = Stacked(policies[0])
    stacked.take([policy.state_dict() for policy in policies])
    generator = torch.Generator().manual_seed(1)
    of = {
        "mixed": torch.randint(NETWORKS, (STREAMS,), generator=generator),
        "one only": torch.full((STREAMS,), 2),
        "a network idle": torch.tensor([2, 0] * (STREAMS // 2)),
    }[seats]
    stacked.assign(of)
    obs = world.observation()
    memory = torch.randn(STREAMS, memory_size(policies[0]), generator=generator)

    def seen(rows: Tensor) -> Tensor | Seen:
        return (
            Seen(obs[rows], memory[rows], torch.zeros(len(rows), dtype=torch.bool))
            if memory.numel()
            else obs[rows]
        )

    everything = seen(torch.arange(STREAMS))
    found = stacked(everything)
    for i, policy in enumerate(policies):
        rows = (of == i).nonzero().squeeze(1)
        if not len(rows):
            continue
        alone = seen(rows)
        with torch.no_grad():
            wanted, _ = policy(alone)
        for table, other in zip(found.tables, wanted.tables, strict=True):
            torch.testing.assert_close(table[rows], other, rtol=1e-5, atol=1e-6)
        if isinstance(alone, Seen) and isinstance(everything, Seen):
            assert everything.after is not None
            torch.testing.assert_close(everything.after[rows], alone.after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["categorical", "joint", "branching"])
def test_tables_are_all_a_distribution_is(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(6, 3, generator=generator) < 0.7
    mask[:, 0] = True
    one = Categorical(torch.randn(6, 3, generator=generator), mask)
    two = Categorical(torch.randn(6, 2, 4, generator=generator))
    flat = Categorical(torch.randn(6, 4, generator=generator))
    made: Discrete = {
        "categorical": one,
        "joint": Joint([one, flat]),
        "branching": Branching(one, [two], [torch.tensor([-1, 0, 1])]),
    }[kind]
    rows = torch.tensor([4, 1])
    part = made.with_tables([table[rows] for table in made.tables])
    whole = made.sample(torch.Generator().manual_seed(7))
    drawn = part.sample(Share(torch.Generator().manual_seed(7), 6, rows))
    assert torch.equal(drawn, whole[rows])
    assert torch.equal(part.log_prob(drawn), made.log_prob(whole)[rows])
    assert torch.equal(part.mode(), made.mode()[rows])
    assert torch.equal(part.entropy(), made.entropy()[rows])
