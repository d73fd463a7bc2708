"""The compiled rules against the same functions as plain Python, bit for bit; and the GPU's, where they can run."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from envs.moba import state as st
from envs.moba.compile import cache_folder, plain
from envs.moba.engine import CpuWorlds
from envs.moba.opponents import OPPONENTS
from envs.moba.options import parse


class Twin:
    """The same worlds twice, compiled and plain; every step compares everything."""

    def __init__(self, name, worlds, seed=0, warm_up=0, **options):
        self.options = parse(name, options)
        self.layout, self.rules, self.worlds = self.options.layout, plain(), worlds
        self.fast = CpuWorlds(self.options, worlds)
        both = 2 * self.options.heroes
        self.obs = torch.zeros((worlds, both, self.layout.size), dtype=torch.int16)
        self.reward = torch.zeros((worlds, both), dtype=torch.int64)
        self.fast.state["game"][:, st.SEED_LOW] = seed
        self.fast.state["game"][:, st.WORLD] = torch.arange(worlds)
        self.fast.start(torch.arange(worlds), self.obs)
        for _ in range(warm_up):
            self.fast.step(self.scripted("bully", "laner"), self.obs, self.reward)
            self.go_on()
        self.slow = {key: value.numpy().copy() for key, value in self.fast.state.items()}
        self.slow["obs"], self.slow["reward"] = self.obs.numpy().copy(), self.reward.numpy().copy()
        self.knobs = memoryview(np.array(st.knobs_of(self.options), np.int64))

    def scripted(self, *names):
        """Actions of one script per team, compiled."""
        actions = torch.empty((self.worlds, 2 * self.options.heroes, 3), dtype=torch.int64)
        for team, name in enumerate(names):
            side = slice(team * self.options.heroes, (team + 1) * self.options.heroes)
            obs = self.obs[:, side].reshape(-1, self.layout.size)
            out = torch.empty((len(obs), 3), dtype=torch.int64)
            self.fast.play(OPPONENTS.index(name), obs, out)
            actions[:, side] = out.view(self.worlds, -1, 3)
        return actions

    def any_actions(self, rng):
        """Uniform over all actions, legal or not, or the random script's legal ones."""
        shape = (self.worlds, 2 * self.options.heroes, 3)
        free = torch.from_numpy(rng.integers(0, self.layout.action_sizes, shape))
        return torch.where(
            torch.from_numpy(rng.random((*shape[:2], 1)) < 0.3), free, self.scripted("random", "random")
        )

    def go_on(self):
        """Next episodes, compiled."""
        ended = (self.fast.state["game"][:, st.DONE] == 1).nonzero().flatten()
        self.fast.state["game"][ended, st.EPISODE] += 1
        self.fast.start(ended, self.obs)

    def step(self, actions):
        self.fast.step(actions, self.obs, self.reward)
        self.go_on()
        numbers = actions.numpy().copy()
        for world in range(self.worlds):
            view = {key: memoryview(value[world]) for key, value in self.slow.items()}
            state = (view["units"], view["heroes"], view["game"], self.knobs, view["rows"])
            self.rules.step_world(*state, memoryview(numbers[world]), view["obs"], view["reward"])
            if view["game"][st.DONE]:
                view["game"][st.EPISODE] += 1
                self.rules.start_world(*state, view["obs"])
        for key, value in self.fast.state.items():
            np.testing.assert_array_equal(value.numpy(), self.slow[key], err_msg=key)
        np.testing.assert_array_equal(self.obs.numpy(), self.slow["obs"])
        np.testing.assert_array_equal(self.reward.numpy(), self.slow["reward"])


def play(twin, decisions, scripts):
    rng = np.random.default_rng(0)
    for _ in range(decisions):
        twin.step(twin.any_actions(rng) if scripts is None else twin.scripted(*scripts))


@pytest.mark.parametrize("scripts", [None, ("bully", "laner")])
@pytest.mark.parametrize(("name", "worlds", "decisions"), [("1v1", 2, 120), ("5v5", 1, 40)])
def test_compiled_and_plain_rules_agree(name, worlds, decisions, scripts):
    play(Twin(name, worlds, warm_up=500), decisions, scripts)


def test_compiled_and_plain_rules_agree_over_the_end_of_games():
    play(Twin("2v2", 2, seed=2**32 - 1, game_length=12.0, lanes=1), 200, None)


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [None, ("bully", "laner")])
@pytest.mark.parametrize("name", ["1v1", "5v5"])
def test_compiled_and_plain_rules_agree_over_2000_decisions_of_16_worlds(name, scripts):
    play(Twin(name, 16), 2000, scripts)


@pytest.mark.parametrize("script", OPPONENTS)
def test_compiled_and_plain_scripts_agree(script):
    twin = Twin("3v3", 2, warm_up=400)
    fast = twin.scripted(script, script).numpy().reshape(-1, 3)
    slow = np.zeros_like(fast)
    obs = twin.obs.numpy().reshape(len(slow), -1)
    for i in range(len(slow)):
        twin.rules.decide(OPPONENTS.index(script), twin.knobs, memoryview(obs), i, memoryview(slow))
    np.testing.assert_array_equal(fast, slow)


def test_rules_call_nothing_that_a_gpus_compiler_does_not_know():
    rules = vars(plain())
    for name, rule in rules.items():
        if callable(rule):
            # `min` and `max` of integers of different widths do not compile there.
            assert not set(rule.__code__.co_names) - set(rules) - {"range", "abs"}, name


def test_machine_code_is_kept_where_the_user_may_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == cache_folder()
    assert cache_folder().is_relative_to(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() != cache_folder()
    assert cache_folder().is_dir()


SIMULATED = """
import torch
from envs.moba import cuda, state as st
from envs.moba.engine import CpuWorlds
from envs.moba.options import parse
cuda.THREADS_PER_BLOCK = 4
# The simulator computes with NumPy's 32-bit numbers, which overflow where a compiler widens them: store 64 bits.
true_world_last = cuda.world_last
cuda.world_last = lambda shape, dtype, device: true_world_last(shape, "int64", device)
options = parse("2v2", {"game_length": 30.0})
obs = [torch.zeros((3, 4, options.layout.size), dtype=torch.int16) for _ in range(2)]
reward = [torch.zeros((3, 4), dtype=torch.int64) for _ in range(2)]
actions = torch.zeros((3, 4, 3), dtype=torch.int64)
both = [CpuWorlds(options, 3), cuda.CudaWorlds(options, 3, torch.device("cpu"))]
for worlds, o in zip(both, obs):
    worlds.state["game"][:, st.WORLD] = torch.arange(3)
    worlds.start(torch.arange(3), o)
for _ in range(12):
    for worlds, o, r in zip(both, obs, reward):
        worlds.step(actions, o, r)
    assert torch.equal(*obs) and torch.equal(*reward)
    for key in both[0].state:
        assert torch.equal(both[0].state[key].long(), both[1].state[key].long()), key
    both[0].play(1, obs[0].view(12, -1), actions.view(12, 3))
print("agree")
"""


def test_the_kernels_agree_in_numbas_simulator_of_a_gpu():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "agree", done.stderr[-2000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["1v1", "5v5"])
def test_a_gpus_worlds_are_the_cpus(name):
    import envs

    here, there = envs.make(f"moba:{name}", 64, seed=3), envs.make(f"moba:{name}", 64, "cuda", seed=3)
    from envs.moba.opponents import Scripted

    script = Scripted("random", here.layout)
    for _ in range(400):
        actions = script(here.observation())
        a, b = here.step(actions), there.step(actions.cuda())
        assert torch.equal(a.obs, b.obs.cpu())
        assert torch.equal(a.reward, b.reward.cpu())
        assert torch.equal(a.terminated, b.terminated.cpu())
