"""EnvPool with a plain PyTorch loop as a contender: arguments as JSON {algo, num_envs, rollout, game, updates}.

The loop is what a careful user writes: the published network, GAE, losses and optimizers, nothing of this project.
"""

import json
import sys

from turns import open_channel, serve

channel = open_channel()
arguments = json.loads(sys.argv[1])

import envpool  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributions import Categorical  # noqa: E402

ppo = arguments["algo"] == "ppo"
N, T, updates = arguments["num_envs"], arguments["rollout"], arguments["updates"]
name = arguments["game"].title().replace("_", "")
env = envpool.make(
    f"{name}-v5",
    env_type="gymnasium",
    num_envs=N,
    seed=1,
    episodic_life=True,
    reward_clip=True,
    use_fire_reset=True,
    noop_max=30,
)
torch.manual_seed(1)


def layer(module: nn.Module, gain: float = 2**0.5) -> nn.Module:
    """Orthogonal weights, zero bias."""
    nn.init.orthogonal_(module.weight, gain)
    nn.init.zeros_(module.bias)
    return module


class Agent(nn.Module):
    """Three convolutions, 512 dense, a head each for policy and value."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.torso = nn.Sequential(
            *(layer(nn.Conv2d(4, 32, 8, 4)), nn.ReLU(), layer(nn.Conv2d(32, 64, 4, 2)), nn.ReLU()),
            *(
                layer(nn.Conv2d(64, 64, 3, 1)),
                nn.ReLU(),
                nn.Flatten(),
                layer(nn.Linear(3136, 512)),
                nn.ReLU(),
            ),
        )
        self.actor, self.critic = layer(nn.Linear(512, actions), 0.01), layer(nn.Linear(512, 1), 1.0)

    def forward(self, obs: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """[B, 4, 84, 84] uint8."""
        features = self.torso(obs / 255.0)
        return Categorical(logits=self.actor(features)), self.critic(features).squeeze(-1)


agent = Agent(env.action_space.n)
optimizer = (
    torch.optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
    if ppo
    else torch.optim.RMSprop(agent.parameters(), lr=7e-4, alpha=0.99, eps=1e-5)
)
gamma, lam = 0.99, 0.95 if ppo else 1.0
obs = torch.zeros(T, N, 4, 84, 84, dtype=torch.uint8)
actions, log_probs = torch.zeros(T, N, dtype=torch.int64), torch.zeros(T, N)
rewards, dones, values = torch.zeros(T, N), torch.zeros(T, N), torch.zeros(T, N)
now = torch.from_numpy(env.reset()[0])


def update() -> None:
    """One rollout and what is learnt from it."""
    global now
    for t in range(T):
        obs[t] = now
        with torch.no_grad():
            policy, values[t] = agent(now)
            actions[t] = policy.sample()
            log_probs[t] = policy.log_prob(actions[t])
        seen, reward, terminated, truncated, _ = env.step(actions[t].numpy().astype(np.int32))
        now = torch.from_numpy(seen)
        rewards[t], dones[t] = torch.from_numpy(reward), torch.from_numpy(terminated | truncated).float()
    with torch.no_grad():
        after = agent(now)[1]
    advantages, running = torch.zeros(T, N), torch.zeros(N)
    for t in reversed(range(T)):
        on = 1 - dones[t]
        running = rewards[t] + gamma * on * after - values[t] + gamma * lam * on * running
        advantages[t], after = running, values[t]
    flat = [x.flatten(0, 1) for x in (obs, actions, log_probs, advantages, advantages + values)]
    chunks = [torch.arange(N * T)]
    for _ in range(4 if ppo else 1):
        if ppo:
            chunks = list(torch.randperm(N * T).split(N * T // 4))
        for chunk in chunks:
            o, a, old, advantage, target = (x[chunk] for x in flat) if ppo else flat
            policy, value = agent(o)
            if ppo:
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                ratio = (policy.log_prob(a) - old).exp()
                gain = torch.minimum(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage).mean()
            else:
                gain = (policy.log_prob(a) * advantage).mean()
            loss = -gain + 0.5 * (target - value).square().mean() - 0.01 * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def turn() -> int:
    """So many updates."""
    for _ in range(updates):
        update()
    return updates * N * T


serve(channel, turn, version=envpool.__version__, torch=torch.__version__)
