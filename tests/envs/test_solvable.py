"""The solvable worlds: as worlds, and as truth against enumeration, hand calculation and sampling."""

import itertools
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, vmap

import envs
from envs.batched import EnvError
from envs.solvable import Bandit, Chain, Gaussian, Tables, make
from envs.solvable import gaussian as gaussian_module
from envs.solvable.streams import Streams

NAMES = ["bandit", "gaussian", "chain"]
VALUE_COEF, ENTROPY_COEF, GAMMA = 0.7, 0.05, 0.9


def some_actions(env, generator):
    if isinstance(env.action_space, spaces.Discrete):
        return torch.randint(int(env.action_space.n), (env.num_envs,), generator=generator)
    return torch.randn(env.num_envs, *env.action_space.shape, generator=generator)


def random_tables(seed, states=2, actions=2, reward_std=0.0, truncation=0.0, end=0.4):
    rng = np.random.default_rng(seed)
    move = rng.dirichlet(np.ones(states), (states, actions))
    ends = end * rng.random((states, actions, states))
    return Tables(
        move, ends, rng.normal(size=move.shape), rng.dirichlet(np.ones(states)), reward_std, truncation
    )


# --- as worlds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_steps_fit_the_spaces_and_report_scores_where_episodes_end(name):
    env = make(name, 7, seed=3)
    generator = torch.Generator().manual_seed(0)
    obs, total, steps, ended = env.reset(), torch.zeros(7), torch.zeros(7), 0
    for _ in range(60):
        assert all(env.observation_space.contains(row.numpy()) for row in obs)
        step = env.step(some_actions(env, generator))
        total, steps = total + step.reward, steps + 1
        over = step.terminated | step.truncated
        assert step.reward.dtype == step.score.dtype == step.length.dtype == torch.float32
        assert not (step.terminated & step.truncated).any()
        assert (step.final_obs is None) == (not over.any())
        torch.testing.assert_close(step.score[over], total[over])
        torch.testing.assert_close(step.length[over], steps[over])
        assert step.score[~over].isnan().all()
        assert step.length[~over].isnan().all()
        total[over], steps[over], ended = 0.0, 0.0, ended + int(over.sum())
        obs = step.obs
        assert torch.equal(obs, env.observation())
    assert ended > 0


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_is_the_same_stream_whatever_the_number_beside_it(name):
    few, many = make(name, 3, seed=11), make(name, 9, seed=11)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert torch.equal(few.observation(), many.observation()[:3])
        actions = some_actions(many, generator)
        a, b = few.step(actions[:3]), many.step(actions)
        assert torch.equal(a.reward, b.reward[:3])
        assert torch.equal(a.terminated, b.terminated[:3])


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_world_goes_on_the_same(name):
    env, generator = make(name, 5, seed=2), torch.Generator().manual_seed(0)
    for _ in range(9):
        env.step(some_actions(env, generator))
    saved = env.state_dict()
    again = make(name, 5, seed=77)
    again.load_state_dict(saved)
    for _ in range(9):
        assert torch.equal(env.observation(), again.observation())
        actions = some_actions(env, generator)
        for x, y in zip(env.step(actions), again.step(actions), strict=True):
            assert (x is None and y is None) or torch.allclose(x, y, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(EnvError, match="saved run's options"):
        make(name, 6).load_state_dict(saved)


@pytest.mark.parametrize("name", ["gaussian", "chain"])
def test_reset_repeats_a_seed_and_seeds_differ(name):
    env, generator = make(name, 6, seed=4), torch.Generator().manual_seed(0)
    actions = [some_actions(env, generator) for _ in range(12)]

    def run(seed):
        env.reset(seed)
        return torch.stack([env.step(a).obs.float() for a in actions])

    first = run(None)
    assert torch.equal(first, run(4))
    assert not torch.equal(first, run(5))


def test_streams_are_uniform_and_uncorrelated_between_environments_steps_and_seeds():
    u = Streams(400, 1).uniform(300)
    assert abs(u.mean() - 0.5) < 4 / math.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / u.size)
    for pair in [(u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u, Streams(400, 2).uniform(300))]:
        assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 4 / math.sqrt(u.size)
    again = Streams(400, 1)
    assert np.array_equal(u, np.hstack([again.uniform(100), again.uniform(200)]))
    z = Streams(300, 5).normal(300)
    assert abs(z.mean()) < 4 / 300
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96) / 300


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: make("maze", 1), "there are solvable:bandit"),
        (lambda: make("chain", 1, colour=1), "no option colour"),
        (lambda: make("chain", 0), "at least one environment"),
        (lambda: make("chain", 2, states=1), "two states"),
        (lambda: make("chain", 2, slip=1.5), "probability"),
        (lambda: make("bandit", 2, rewards=(1.0,)), "two rewards"),
        (lambda: make("gaussian", 2, target=((1.0,) * 7,)), "dimensions"),
        (lambda: make("gaussian", 2, target=((1.0,), (1.0, 2.0))), "one length"),
        (lambda: make("chain", 2).step(torch.tensor([0, 2])), "actions 0 to 1"),
        (lambda: make("chain", 2).step(torch.zeros(3, dtype=torch.long)), "integer actions"),
        (
            lambda: make("chain", 2).exact(torch.zeros(2, 5), torch.zeros(5), rollout=3),
            "logits must have shape",
        ),
        (lambda: make("chain", 2).exact(torch.zeros(5, 2), torch.zeros(5), rollout=0), "at least one"),
    ],
)
def test_bad_input_is_one_clear_line(bad, says):
    with pytest.raises(ValueError, match=says) as error:
        bad()
    assert "\n" not in str(error.value)


# --- the chain's truth ----------------------------------------------------------------------------


def observation_loss(logits_weight, value_weight, hot, a, ret):
    """The A2C loss of one observation of a tabular policy. hot [S] is the state, one-hot."""
    log_p = torch.log_softmax(logits_weight @ hot, 0)
    v = (value_weight @ hot)[0]
    entropy = -(log_p.exp() * log_p).sum()
    log_pa = log_p.gather(0, a.view(1))[0]
    return -log_pa * (ret - v).detach() + VALUE_COEF * (ret - v) ** 2 - ENTROPY_COEF * entropy


def observation_gradients(logits, value, s, a, ret):
    """M observations -> [M, P] by automatic differentiation."""
    one_each = vmap(grad(observation_loss, (0, 1)), (None, None, 0, 0, 0))
    hot = torch.nn.functional.one_hot(s, len(value)).to(value.dtype)
    return torch.cat([g.flatten(1) for g in one_each(logits.T, value[None], hot, a, ret)], 1)


def returns(rewards, over, bootstrap, last, value):
    """R [M, T] by the backward recursion; `bootstrap` is γV of the state a cut-off lost, 0 elsewhere."""
    out, ret = [], value[last]
    for t in reversed(range(rewards.shape[1])):
        ret = rewards[:, t] + torch.where(over[:, t], bootstrap[:, t], GAMMA * ret)
        out.append(ret)
    return torch.stack(out[::-1], 1)


def every_trajectory(tables, pi, start, rollout):
    """(probability, [(s, a, r, over, final state or -1)] x T, s_T) of all of them; noise is ±reward_std."""
    states, actions, _ = tables.move.shape
    signs = (-1.0, 1.0) if tables.reward_std else (0.0,)
    found = [(p, (), s) for s, p in enumerate(start)]
    for _ in range(rollout):
        grown = []
        for p, path, s in found:
            for a, after, sign in itertools.product(range(actions), range(states), signs):
                r = tables.reward[s, a, after] + sign * tables.reward_std
                q = p * pi[s, a] * tables.move[s, a, after] / len(signs)
                end = tables.end[s, a, after]
                cut = (1 - end) * tables.truncation
                grown.append((q * (1 - end - cut), (*path, (s, a, r, False, -1)), after))
                for new, p_new in enumerate(tables.start):
                    grown.append((q * end * p_new, (*path, (s, a, r, True, -1)), new))
                    if cut:
                        grown.append((q * cut * p_new, (*path, (s, a, r, True, after)), new))
        found = [item for item in grown if item[0] > 0]
    return found


def enumerated(tables, logits, value, start, rollout):
    """Per-step gradients [M, T, P] of every trajectory and their probabilities [M]."""
    found = every_trajectory(tables, torch.softmax(logits, 1).numpy(), start, rollout)
    p = torch.tensor([item[0] for item in found], dtype=torch.float64)
    s, a = (torch.tensor([[step[k] for step in item[1]] for item in found]) for k in (0, 1))
    r = torch.tensor([[step[2] for step in item[1]] for item in found], dtype=torch.float64)
    over = torch.tensor([[step[3] for step in item[1]] for item in found])
    final = torch.tensor([[step[4] for step in item[1]] for item in found])
    bootstrap = torch.where(
        final >= 0, GAMMA * value[final.clamp_min(0)], torch.zeros((), dtype=torch.float64)
    )
    ret = returns(r, over, bootstrap, torch.tensor([item[2] for item in found]), value)
    g = observation_gradients(logits, value, s.flatten(), a.flatten(), ret.flatten())
    return g.view(len(p), rollout, -1), p


@pytest.mark.parametrize(
    ("rollout", "options"),
    [
        (1, {"reward_std": 0.5, "truncation": 0.3}),
        (2, {"reward_std": 0.5, "truncation": 0.3}),
        (3, {"truncation": 0.2}),
        (4, {}),
        (2, {"states": 3, "actions": 3, "truncation": 0.4}),
    ],
)
def test_chain_equals_the_sum_over_all_trajectories(rollout, options):
    tables = random_tables(rollout, **options)
    states, actions, _ = tables.move.shape
    generator = torch.Generator().manual_seed(rollout)
    logits = torch.randn(states, actions, dtype=torch.float64, generator=generator)
    value = torch.randn(states, dtype=torch.float64, generator=generator)
    start = np.random.default_rng(9).dirichlet(np.ones(states))

    g, p = enumerated(tables, logits, value, start, rollout)
    assert math.isclose(float(p.sum()), 1.0, rel_tol=1e-12)
    step_means = torch.einsum("m,mtp->tp", p, g)
    centred = g - step_means
    mean = centred.mean(1)
    truth = Chain(1, tables=tables).exact(
        logits,
        value,
        rollout=rollout,
        gamma=GAMMA,
        value_coef=VALUE_COEF,
        entropy_coef=ENTROPY_COEF,
        start=torch.from_numpy(start),
    )
    near = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(truth.step_gradients, step_means, **near)
    torch.testing.assert_close(truth.gradient, step_means.mean(0), **near)
    torch.testing.assert_close(
        truth.step_covariance, torch.einsum("m,mtp,mup->tu", p, centred, centred), **near
    )
    torch.testing.assert_close(truth.covariance, torch.einsum("m,mp,mq->pq", p, mean, mean), **near)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rollout=st.integers(1, 9), truncation=st.sampled_from([0.0, 0.3]))
def test_chain_moments_agree_with_one_another(seed, rollout, truncation):
    env = Chain(1, tables=random_tables(seed, states=3, reward_std=0.3, truncation=truncation))
    rng = np.random.default_rng(seed)
    logits, value = torch.from_numpy(rng.normal(size=(3, 2))), torch.from_numpy(rng.normal(size=3))
    truth = env.exact(logits, value, rollout=rollout, value_coef=VALUE_COEF, entropy_coef=ENTROPY_COEF)
    assert math.isclose(truth.trace, float(truth.step_covariance.sum()) / rollout**2, rel_tol=1e-9)
    assert torch.linalg.eigvalsh(truth.covariance).min() > -1e-9
    torch.testing.assert_close(sum(part.gradient for part in truth.parts.values()), truth.gradient)
    # Policy and value have no parameter in common, so their noise adds once the entropy is off.
    plain = env.exact(logits, value, rollout=rollout, value_coef=VALUE_COEF, entropy_coef=0.0)
    assert math.isclose(plain.trace, plain.parts["policy"].trace + plain.parts["value"].trace, rel_tol=1e-9)
    # A shorter rollout is the end of a longer one: same returns, same distribution of states.
    shorter = env.exact(
        logits, value, rollout=max(1, rollout - 1), value_coef=VALUE_COEF, entropy_coef=ENTROPY_COEF
    )
    torch.testing.assert_close(
        shorter.step_covariance, truth.step_covariance[min(1, rollout - 1) :, min(1, rollout - 1) :]
    )


def play(env, logits, rollout, generator, burn_in):
    """Play the softmax policy; (s, a, r, over, bootstrap-state or -1) each [N, T], and s_T [N]."""
    obs, rows = env.reset(), []
    pi = torch.softmax(logits, 1)
    for t in range(burn_in + rollout):
        a = torch.multinomial(pi[obs], 1, generator=generator)[:, 0]
        step = env.step(a)
        final = step.final_obs if step.final_obs is not None else obs
        lost = torch.where(step.truncated, final, -1)
        if t >= burn_in:
            rows.append((obs, a, step.reward.double(), step.terminated | step.truncated, lost))
        obs = step.obs
    return tuple(torch.stack(column, 1) for column in zip(*rows, strict=True)), obs


@pytest.mark.parametrize("options", [{}, {"truncation": 0.1, "reward_std": 0.2, "states": 3}])
def test_sampled_chain_has_the_exact_mean_and_noise(options):
    rollout, envs = 5, 20_000
    env = Chain(envs, seed=1, **options)
    generator = torch.Generator().manual_seed(2)
    states = int(env.observation_space.n)
    logits = torch.randn(states, 2, dtype=torch.float64, generator=generator) * 0.5
    value = torch.rand(states, dtype=torch.float64, generator=generator)
    (s, a, r, over, lost), last = play(env, logits, rollout, generator, burn_in=60)
    bootstrap = torch.where(lost >= 0, GAMMA * value[lost.clamp_min(0)], 0.0)
    ret = returns(r, over, bootstrap, last, value)
    g = (
        observation_gradients(logits, value, s.flatten(), a.flatten(), ret.flatten())
        .view(envs, rollout, -1)
        .mean(1)
    )
    truth = env.exact(
        logits, value, rollout=rollout, gamma=GAMMA, value_coef=VALUE_COEF, entropy_coef=ENTROPY_COEF
    )
    assert ((g.mean(0) - truth.gradient).abs() < 4.5 * g.std(0) / math.sqrt(envs) + 1e-12).all()
    squares = (g - truth.gradient).square().sum(1)
    assert abs(squares.mean() - truth.trace) < 4 * squares.std() / math.sqrt(envs)


def test_default_chain_is_a_task_with_correlated_observations():
    """Going right is worth more than going left, and a rollout is worth less than its observations."""
    env = make("chain", 1)
    truth = env.exact(torch.zeros(5, 2), torch.zeros(5), rollout=20, entropy_coef=0.0)
    g = truth.parts["policy"].named()["logits.weight"]
    assert set(truth.named()) == {"logits.weight", "value.weight"}
    assert (g[1] < 0).all()  # descent raises the logit of going right in every state
    assert truth.design_effect > 1.5


# --- the worlds of one decision -------------------------------------------------------------------


def test_bandit_equals_a_chain_of_one_state():
    rewards, std, shape = (0.3, -0.2, 1.0), 0.4, (1, 3, 1)
    tables = Tables(np.ones(shape), np.ones(shape), np.array(rewards).reshape(shape), np.ones(1), std)
    logits, value = torch.tensor([[0.1, 0.5, -0.3]]), torch.tensor([0.2])
    for rollout in (1, 4):
        options = {"rollout": rollout, "value_coef": VALUE_COEF, "entropy_coef": ENTROPY_COEF}
        a = Bandit(1, rewards=rewards, reward_std=std).exact(logits, value, **options)
        b = Chain(1, tables=tables).exact(logits, value, **options)
        torch.testing.assert_close(a.gradient, b.gradient)
        torch.testing.assert_close(a.covariance, b.covariance)
        assert math.isclose(a.design_effect, 1.0)


def test_bandit_of_two_arms_by_hand():
    """p = 1/2: g = ∓(r - v)/2 on the two logits, so G = ∓(r₀ - r₁)/4 and E|g|² = Σ (rᵢ - v)²/4 + σ²/2."""
    truth = Bandit(1, rewards=(1.0, 0.0), reward_std=2.0).exact(torch.zeros(1, 2), torch.zeros(1), rollout=3)
    policy = truth.parts["policy"]
    torch.testing.assert_close(policy.gradient, torch.tensor([-0.25, 0.25, 0.0], dtype=torch.float64))
    assert math.isclose(policy.trace, (1 / 4 + 4 / 2 - 1 / 8) / 3)
    assert math.isclose(policy.b_simple, 15 + 2)


def test_gaussian_of_one_dimension_by_hand():
    """On target, no state: r = -qσ²ε²/2; moments 1, 3, 15, 105 of ε give the noise of ε r/σ, (ε²-1) r."""
    q, s, v = 2.0, 0.5, -0.7
    env = Gaussian(1, target=((0.4,),), curvature=(q,), reward_std=0.0)
    truth = env.exact(torch.tensor([[0.4]]), torch.tensor([s]).log(), torch.tensor([v]))
    g = truth.parts["policy"]
    c = q * s * s / 2
    of_mean = (15 * c * c + 2 * 3 * c * v + v * v) / s**2
    of_std = c * c * (105 - 2 * 15 + 3) + 2 * c * v * (15 - 2 * 3 + 1) + v * v * 2 - (2 * c) ** 2
    torch.testing.assert_close(
        g.gradient, torch.tensor([0.0, 2 * c, 0.0], dtype=torch.float64), atol=1e-6, rtol=1e-6
    )
    assert math.isclose(g.trace, of_mean + of_std, rel_tol=1e-6)
    assert math.isclose(float(truth.parts["value"].gradient[2]), -2 * 0.5 * (-c - v), rel_tol=1e-6)


def test_gaussian_needs_no_more_nodes(monkeypatch):
    env = make("gaussian", 1)
    args = (torch.tensor([[0.1, 0.2], [0.3, -0.4]]), torch.tensor([0.1, -0.3]), torch.tensor([-0.5, 0.2]))
    few = env.exact(*args)
    monkeypatch.setattr(gaussian_module, "NODES", 9)
    torch.testing.assert_close(few.covariance, env.exact(*args).covariance, rtol=1e-10, atol=1e-12)
    monkeypatch.setattr(gaussian_module, "NODES", 4)
    assert not torch.allclose(few.covariance, env.exact(*args).covariance, rtol=1e-3)


@pytest.mark.parametrize("learned", [True, False])
def test_sampled_gaussian_has_the_exact_mean_and_noise(learned):
    envs = 60_000
    env, generator = Gaussian(envs, seed=3), torch.Generator().manual_seed(4)
    mean = torch.tensor([[0.1, 0.2], [0.3, -0.4]], dtype=torch.float64)
    log_std = torch.tensor([0.1, -0.3], dtype=torch.float64)
    value = torch.tensor([-0.5, 0.2], dtype=torch.float64)
    x = env.observation().double()
    a = x @ mean.T + log_std.exp() * torch.randn(envs, 2, dtype=torch.float64, generator=generator)
    r = env.step(a).reward.double()

    def loss(mean, log_std, value, x, a, r):
        policy = torch.distributions.Normal(mean @ x, log_std.exp(), validate_args=False)
        advantage = r - value @ x
        score = policy.log_prob(a).sum() * advantage.detach()
        return -score + VALUE_COEF * advantage**2 - ENTROPY_COEF * policy.entropy().sum()

    blocks = vmap(grad(loss, (0, 1, 2)), (None, None, None, 0, 0, 0))(mean, log_std, value, x, a, r)
    g = torch.cat([block.flatten(1) for i, block in enumerate(blocks) if learned or i != 1], 1)
    truth = env.exact(
        mean, log_std, value, value_coef=VALUE_COEF, entropy_coef=ENTROPY_COEF, learned_std=learned
    )
    assert ((g.mean(0) - truth.gradient).abs() < 4 * g.std(0) / math.sqrt(envs)).all()
    squares = (g - truth.gradient).square().sum(1)
    assert abs(squares.mean() - truth.trace) < 4 * squares.std() / math.sqrt(envs)
    assert sum(math.prod(shape) for shape in truth.shapes.values()) == g.shape[1]


@pytest.mark.parametrize("options", [{"hazard": float("nan")}, {"slip": 1.5}, {"reward_std": float("nan")}])
def test_a_chain_of_no_probabilities_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(EnvError, match="chain tables"):
        envs.make("solvable:chain", 2, **options)
