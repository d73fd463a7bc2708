"""Within-rollout correlation against an explicit covariance, a known process, and the exact chain."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from envs.solvable import make
from rl_gns.noise.correlation import RolloutGram, Sketch, per_observation_gradients, rollout_correlation


def autoregressive(rollout, envs, size, rho, mean, generator):
    """Gradients [T, N, P]: `mean` plus a stationary AR(1) of unit variance in every coordinate."""
    x = [torch.randn(envs, size, dtype=torch.float64, generator=generator)]
    for _ in range(rollout - 1):
        fresh = torch.randn(envs, size, dtype=torch.float64, generator=generator)
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * fresh)
    return torch.stack(x) + mean


def explicit(g):
    """Slow twin: covariance by centring on the sample mean, products over pairs of environments."""
    rollout, envs, _ = g.shape
    centred = g - g.mean(1, keepdim=True)
    covariance, products = torch.zeros(rollout, rollout), torch.zeros(rollout, rollout)
    covariance, products = covariance.double(), products.double()
    for t in range(rollout):
        for u in range(rollout):
            covariance[t, u] = sum(centred[t, n] @ centred[u, n] for n in range(envs)) / (envs - 1)
            pairs = [g[t, n] @ g[u, m] for n in range(envs) for m in range(envs) if n != m]
            products[t, u] = sum(pairs) / len(pairs)
    return covariance, products


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_equals_the_slow_twin_whole_or_in_chunks(rollout, envs, size, seed):
    g = (
        torch.randn(rollout, envs, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        + 0.5
    )
    covariance, products = explicit(g)
    for given_as in (g, [g[:, :1], g[:, 1:]], iter(g.split(2, 1))):
        gram = RolloutGram(rollout)
        gram.update(given_as)
        torch.testing.assert_close(gram.covariance, covariance)
        torch.testing.assert_close(gram.products, products)
    result = rollout_correlation(g)
    for lag in range(rollout):
        expected = covariance.diagonal(lag).mean() / covariance.diagonal().mean()
        torch.testing.assert_close(result.autocorrelation[lag], expected)
    for short in range(1, rollout + 1):
        last = torch.tensor([[covariance[t, u] for u in range(-short, 0)] for t in range(-short, 0)])
        torch.testing.assert_close(
            result.design_effect[short - 1], (last.sum() / last.diagonal().sum()).double()
        )


def test_a_known_process_is_recovered_without_bias_from_two_environments_at_a_time():
    rollout, rho, size, mean = 6, 0.7, 3, 0.4
    g = autoregressive(rollout, 24_000, size, rho, mean, torch.Generator().manual_seed(0))
    gram = RolloutGram(rollout)
    for pair in g.split(2, 1):
        gram.update(pair)
    lags = rho ** torch.arange(rollout, dtype=torch.float64)
    rho_k, effect = gram.correlation()
    torch.testing.assert_close(rho_k, lags, atol=0.02, rtol=0)
    for t in range(1, rollout + 1):
        exact = 1 + 2 * sum((1 - k / t) * rho**k for k in range(1, t))
        reading = gram.predict(t)
        assert math.isclose(float(effect[t - 1]), exact, rel_tol=0.02)
        assert math.isclose(reading.noise, size * exact / t, rel_tol=0.02)
        assert math.isclose(reading.signal, size * mean**2, rel_tol=0.03)
        assert math.isclose(reading.b_simple, exact / mean**2, rel_tol=0.05)
        assert math.isclose(reading.num_envs * t, reading.b_simple)
    far = gram.predict(4 * rollout)
    assert far.extrapolated
    assert not gram.predict(rollout).extrapolated
    assert math.isclose(far.signal, size * mean**2, rel_tol=0.05)


def test_correlation_time_of_a_known_process():
    g = autoregressive(60, 3_000, 4, 0.8, 0.0, torch.Generator().manual_seed(1))
    gram = RolloutGram(60)
    gram.update(g)
    assert math.isclose(gram.correlation_time(), (1 + 0.8) / (1 - 0.8), rel_tol=0.05)
    gram = RolloutGram(20)
    gram.update(autoregressive(20, 20_000, 4, -0.6, 0.0, torch.Generator().manual_seed(1)))
    assert math.isclose(gram.correlation_time(), (1 - 0.6) / (1 + 0.6), abs_tol=0.1)


def test_independent_observations_have_no_design_effect_and_weak_signal_is_unknown():
    g = autoregressive(5, 4, 500, 0.0, 0.0, torch.Generator().manual_seed(2))
    g -= 0.5 * g.mean((0, 1))
    rho, effect = rollout_correlation(g)
    assert rho[1:].abs().max() < 0.1
    assert (effect - 1).abs().max() < 0.15
    gram = RolloutGram(5)
    gram.update(g)
    reading = gram.predict(5)
    assert reading.signal < 0
    assert reading.b_simple is None
    assert reading.num_envs is None


# --- against the chain, whose covariance is computed over its states --------------------------------


class Tabular(nn.Module):
    """One-hot state -> logits and value, without bias."""

    def __init__(self, states, actions):
        super().__init__()
        self.logits = nn.Linear(states, actions, bias=False)
        self.value = nn.Linear(states, 1, bias=False)

    def forward(self, hot):
        return self.logits(hot), self.value(hot)[..., 0]


OPTIONS = {"gamma": 0.95, "value_coef": 0.5, "entropy_coef": 0.02}


def chain_and_policy():
    torch.manual_seed(3)
    policy = Tabular(4, 2).double()
    return (
        {"states": 4, "truncation": 0.02},
        policy,
        policy.logits.weight.T.detach(),
        policy.value.weight[0].detach(),
    )


def truth(rollout):
    options, _, logits, value = chain_and_policy()
    return make("chain", 1, **options).exact(logits, value, rollout=rollout, **OPTIONS)


def exact_gram(rollout):
    """A `RolloutGram` that has seen infinitely many rollouts."""
    exact = truth(rollout)
    gram = RolloutGram(rollout)
    products = exact.step_gradients @ exact.step_gradients.T
    gram.load_state_dict({"products": products, "covariance": exact.step_covariance, "weight": 1.0})
    return gram


def test_from_one_rollout_length_every_shorter_one_follows_exactly():
    gram = exact_gram(12)
    torch.testing.assert_close(gram.correlation().autocorrelation, truth(12).autocorrelation)
    for rollout in range(1, 13):
        exact, reading = truth(rollout), gram.predict(rollout)
        assert math.isclose(reading.b_simple, exact.b_simple, rel_tol=1e-9)
        assert math.isclose(reading.design_effect, exact.design_effect, rel_tol=1e-9)


@pytest.mark.parametrize("rollout", [5, 10, 20])
def test_longer_rollouts_come_out_roughly_right(rollout):
    gram = exact_gram(rollout)
    assert abs(math.log(gram.predict(2 * rollout).b_simple / truth(2 * rollout).b_simple)) < math.log(1.3)
    assert abs(math.log(gram.predict(4 * rollout).b_simple / truth(4 * rollout).b_simple)) < math.log(1.8)


def observation_loss(policy, parameters, hot, action, ret):
    logits, value = functional_call(policy, parameters, (hot,))
    log_p = logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum()
    chosen = log_p.gather(-1, action.view(1))[0]
    advantage = ret - value
    squared = OPTIONS["value_coef"] * advantage**2
    return -chosen * advantage.detach() + squared - OPTIONS["entropy_coef"] * entropy


def played(rollout, envs, seed, burn_in=60):
    """One-hot states [T, N, S], actions [T, N] and returns [T, N] of a chain played with the policy."""
    options, policy, logits, value = chain_and_policy()
    env, generator = make("chain", envs, seed=seed, **options), torch.Generator().manual_seed(seed)
    p, obs, rows = logits.softmax(1), env.observation(), []
    for _ in range(burn_in + rollout):
        action = torch.multinomial(p[obs], 1, generator=generator)[:, 0]
        rows.append((obs, action, env.step(action)))
        obs = rows[-1][2].obs
    gamma, ret, out = OPTIONS["gamma"], value[obs], []
    for _, _, step in reversed(rows[burn_in:]):
        lost = value[step.final_obs] if step.final_obs is not None else torch.zeros(envs).double()
        ahead = torch.where(step.truncated, lost, torch.where(step.terminated, 0.0, ret))
        ret = step.reward.double() + gamma * ahead
        out.append(ret)
    states = torch.stack([row[0] for row in rows[burn_in:]])
    actions = torch.stack([row[1] for row in rows[burn_in:]])
    return policy, nn.functional.one_hot(states, len(value)).double(), actions, torch.stack(out[::-1])


@pytest.mark.parametrize("group", [24_000, 8])
def test_measured_on_the_chain_it_predicts_every_shorter_rollout_within_ten_percent(group):
    rollout, envs = 8, 24_000
    policy, hot, actions, ret = played(rollout, envs, seed=1)
    g = per_observation_gradients(
        lambda p, *row: observation_loss(policy, p, *row),
        dict(policy.named_parameters()),
        (hot.flatten(0, 1), actions.flatten(), ret.flatten()),
        chunk=16_000,
    ).view(rollout, envs, -1)
    gram = RolloutGram(rollout)
    for units in g.split(group, 1):
        gram.update(units)
    exact = truth(rollout)
    torch.testing.assert_close(gram.correlation().autocorrelation, exact.autocorrelation, atol=0.02, rtol=0)
    assert exact.design_effect > 1.2
    for short in range(1, rollout + 1):
        reading, known = gram.predict(short), truth(short)
        assert math.isclose(reading.b_simple, known.b_simple, rel_tol=0.1)
        assert math.isclose(reading.design_effect, known.design_effect, rel_tol=0.03)
        assert math.isclose(reading.num_envs, known.b_simple / short, rel_tol=0.1)


# --- gradients of single observations ---------------------------------------------------------------


def test_per_observation_gradients_agree_in_every_chunk_size_and_average_to_the_batch_gradient():
    policy, hot, actions, ret = played(3, 4, seed=2)
    rows = (hot.flatten(0, 1), actions.flatten(), ret.flatten())
    parameters = {**dict(policy.named_parameters()), "unused": torch.ones(2, dtype=torch.float64)}

    def loss(p, *row):
        used = {name: p[name] for name in p if name != "unused"}
        return observation_loss(policy, used, *row)

    one = per_observation_gradients(loss, parameters, rows)
    assert one.shape == (12, 4 * 2 + 4 + 2)
    assert one[:, -2:].eq(0).all()
    for chunk in (5, 12, 100):
        torch.testing.assert_close(per_observation_gradients(loss, parameters, rows, chunk=chunk), one)
    torch.stack([loss(dict(parameters), *(x[i] for x in rows)) for i in range(12)]).mean().backward()
    batch = torch.cat([p.grad.flatten() for p in policy.parameters()])
    torch.testing.assert_close(one.mean(0)[:-2], batch)
    sketch = Sketch(14, 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(per_observation_gradients(loss, parameters, rows, sketch=sketch), sketch(one))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory from Linux")
def test_memory_is_two_rollouts_of_gradients_however_many_environments():
    """Of steps T and weights P: (2 T + 2) P floats, and half of that for what the allocator keeps."""
    steps, weight = 12, torch.randn(2_000_000)

    def memory(name):
        line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
        return 1024 * int(line.split()[1])

    def gradients():
        inputs = torch.randn(steps)
        return per_observation_gradients(lambda p, x: (p["w"] * x).square().sum(), {"w": weight}, (inputs,))

    gram = RolloutGram(steps)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    gram.update(gradients()[:, None] for _ in range(4))
    assert memory("VmHWM") - before < 1.5 * (2 * steps + 2) * 4 * weight.numel()


def test_sketch_keeps_inner_products_on_average():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, generator=generator, dtype=torch.float64) + 0.5
    exact = x @ x.T
    estimates = torch.stack([(s := Sketch(50, 20, generator)(x)) @ s.T for _ in range(4_000)])
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()
    norms = exact.diagonal()
    assert (estimates.var(0) < 1.1 * (norms[:, None] * norms + exact**2) / 20).all()


def test_correlation_survives_a_sketch():
    g = autoregressive(4, 200, 400, 0.6, 0.1, torch.Generator().manual_seed(3))
    sketch = Sketch(400, 64, torch.Generator().manual_seed(4))
    small = sketch(g.flatten(0, 1)).view(4, 200, 64)
    torch.testing.assert_close(rollout_correlation(small), rollout_correlation(g), atol=0.05, rtol=0)


# --- state and bad input ----------------------------------------------------------------------------


def test_state_round_trip_and_updates_are_weighted_by_their_environments():
    g = autoregressive(3, 9, 4, 0.5, 0.2, torch.Generator().manual_seed(5))
    gram, again = RolloutGram(3), RolloutGram(3)
    gram.update(g[:, :3])
    again.load_state_dict(gram.state_dict())
    for each in (gram, again):
        each.update(g[:, 3:])
    assert torch.equal(gram.covariance, again.covariance)
    expected = (2 * explicit(g[:, :3])[0] + 5 * explicit(g[:, 3:])[0]) / 7
    torch.testing.assert_close(gram.covariance, expected)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: RolloutGram(0), "at least one observation"),
        (lambda: RolloutGram(3).update(torch.zeros(2, 4, 5)), r"\[3, envs, parameters\], got \[2, 4, 5\]"),
        (lambda: RolloutGram(3).update([torch.ones(3, 2, 5), torch.ones(3, 2, 4)]), "envs, parameters"),
        (lambda: RolloutGram(3).update(torch.zeros(3, 1, 5)), "two environments, got 1"),
        (lambda: RolloutGram(1).update(torch.full((1, 2, 3), math.nan)), "not finite"),
        (lambda: RolloutGram(2).predict(2), "one update"),
        (lambda: RolloutGram(2).load_state_dict(RolloutGram(3).state_dict()), "rollout 3, not 2"),
        (lambda: rollout_correlation([]), "got None"),
        (lambda: rollout_correlation(torch.zeros(3, 4)), r"got \[3, 4\]"),
        (lambda: per_observation_gradients(None, {}, (torch.ones(2), torch.ones(3))), "one length"),
        (lambda: Sketch(4, 0, torch.Generator()), "at least one number"),
    ],
)
def test_bad_input_is_one_clear_line(bad, says):
    with pytest.raises(ValueError, match=says) as error:
        bad()
    assert "\n" not in str(error.value)


def gram_of(correlations):
    """A gram that has seen stationary gradients of these correlations and a mean product of 1."""
    lags = torch.arange(len(correlations))
    covariance = torch.tensor(correlations, dtype=torch.float64)[(lags[:, None] - lags).abs()]
    gram = RolloutGram(len(correlations))
    gram.load_state_dict({"products": torch.ones_like(covariance), "covariance": covariance, "weight": 1.0})
    return gram


@pytest.mark.parametrize("rollout", [6, 7, 12, 24])
def test_a_longer_rollout_is_predicted_from_the_lags_that_were_seen(rollout):
    gram = gram_of([0.7**k for k in range(6)])
    wanted = 1 + 2 * sum((1 - k / rollout) * 0.7**k for k in range(1, 6))
    assert gram.predict(rollout).design_effect == pytest.approx(wanted)


def test_correlation_that_is_noise_at_long_lags_does_not_add_up():
    """The sum ends where a window of Sokal's does: 1 + 2 Σ 0.5^k = 3, and not 17 more from what lies beyond."""
    gram = gram_of([0.5**k if k < 30 else 0.05 for k in range(200)])
    assert gram.correlation_time() == pytest.approx(3, rel=1e-3)
