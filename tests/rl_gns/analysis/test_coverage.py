"""Why the interval of `fit_front` is what it is: how often candidates hold the truth (nominal 95 %)."""

import numpy as np
import pytest

from rl_gns.analysis import design_effect, exchange_rate, fit_front, fit_rollouts
from rl_gns.analysis._profile import Points, minimise

REPEATS = 300


def sample(rng, sizes, seeds, b_crit, shared):
    """Updates over batch sizes, seed scatter 0.1, and a scatter `shared` by the seeds of one batch size."""
    batch = 40.0 * 2.0 ** np.arange(sizes)
    log_noise = 0.1 * rng.standard_normal((sizes, seeds)) + shared * rng.standard_normal((sizes, 1))
    return np.repeat(batch, seeds), (1000 * (1 + b_crit / batch[:, None]) * np.exp(log_noise)).reshape(-1)


def percentiles(rng, batch, updates, seeds, replicas=150):
    """The plain alternatives: resample residuals (one seed) or seeds within batch sizes (several)."""
    points = Points(batch, np.log(updates))
    found = points.at(minimise(points))
    fitted = found.intercept + np.log1p(np.exp(minimise(points)) / batch)
    n = batch.size
    values = []
    for _ in range(replicas):
        if seeds == 1:
            y = fitted + rng.choice((points.log_y - fitted) * np.sqrt(n / (n - 2)), n)
        else:
            rows = np.arange(0, n, seeds)[:, None] + rng.integers(0, seeds, (n // seeds, seeds))
            y = points.log_y[rows.reshape(-1)]
        grid = points.grid()
        values.append(grid[Points(batch, y).at(grid).objective.argmin()])
    return np.exp(np.quantile(values, [0.025, 0.975]))


def coverage(sizes, seeds, b_crit, shared, method):
    held = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng(repeat)
        batch, updates = sample(rng, sizes, seeds, b_crit, shared)
        if method == "percentiles":
            low, high = percentiles(rng, batch, updates, seeds)
        else:
            front = fit_front(batch, updates, seed=repeat, bootstrap=300)
            low, high = front.b_crit_low or 0.0, front.b_crit_high or np.inf
        held.append(low <= b_crit <= high)
    return float(np.mean(held))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "seeds", "b_crit", "shared", "least"),
    [
        (3, 1, 100, 0.0, 0.92),
        (4, 1, 160, 0.0, 0.92),
        (6, 1, 300, 0.0, 0.92),
        (6, 1, 2000, 0.0, 0.92),
        (6, 1, 20000, 0.0, 0.92),
        (10, 1, 640, 0.0, 0.92),
        (5, 2, 300, 0.0, 0.92),
        (6, 3, 300, 0.0, 0.92),
        (6, 3, 300, 0.07, 0.89),
        (5, 3, 300, 0.1, 0.89),
        (3, 5, 100, 0.05, 0.87),
    ],
)
def test_interval_holds_the_truth(sizes, seeds, b_crit, shared, least):
    assert least <= coverage(sizes, seeds, b_crit, shared, "ours") <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "seeds", "b_crit", "shared"), [(5, 1, 160, 0.0), (5, 2, 300, 0.0), (6, 3, 300, 0.07)]
)
def test_percentiles_do_not(sizes, seeds, b_crit, shared):
    assert coverage(sizes, seeds, b_crit, shared, "percentiles") < 0.92


def held_by_the_law_of_two_axes(envs, lengths, seeds, b_1, scatter, shared, repeats=40):
    """Share of critical numbers within their intervals, at ρ = 0.6."""
    n, t = np.repeat(np.tile(envs, len(lengths)), seeds), np.repeat(lengths, len(envs) * seeds)
    truth = {length: b_1 * float(design_effect(length, 0.6)) / length for length in lengths}
    exact = 200 * (1 + np.array([truth[length] for length in t]) / n)
    held = []
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        cells = np.repeat(rng.standard_normal(n.size // seeds), seeds)
        law = fit_rollouts(
            n, t, exact * np.exp(scatter * rng.standard_normal(n.size) + shared * cells), bootstrap=100
        )
        held += [law.n_crit(length).low <= truth[length] <= law.n_crit(length).high for length in lengths]
    return float(np.mean(held))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("envs", "lengths", "seeds", "b_1", "scatter", "shared"),
    [
        ((1, 4, 16, 64, 256, 1024), (5, 20, 80), 3, 100, 0.02, 0.0),
        ((1, 4, 16, 64, 256, 1024), (5, 20, 80), 3, 100, 0.02, 0.1),
        ((4, 8, 16, 32, 64), (5, 20), 1, 100, 0.15, 0.0),
        ((4, 8, 16, 32, 64), (5, 20, 80), 2, 20_000, 0.15, 0.0),
    ],
)
def test_law_of_two_axes_holds_the_truth(envs, lengths, seeds, b_1, scatter, shared):
    assert held_by_the_law_of_two_axes(envs, lengths, seeds, b_1, scatter, shared) >= 0.89


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("b_1", "seeds"), [(100, 2), (20_000, 1), (20_000, 2)])
def test_exchange_rate_holds_the_truth(b_1, seeds, shared):
    """Of 64 environments and rollouts of 5 for 4 and 80, also where all are below the critical number, at ρ = 0.6."""
    n, t = np.repeat(np.tile([4, 8, 16, 32, 64], 3), seeds), np.repeat([5, 20, 80], 5 * seeds)
    crit = b_1 * design_effect(t, 0.6) / t
    truth = (1 + b_1 * float(design_effect(80, 0.6)) / 320) / (1 + b_1 * float(design_effect(5, 0.6)) / 320)
    held = []
    for repeat in range(40):
        noise = np.exp(0.15 * np.random.default_rng(repeat).standard_normal(n.size))
        law = fit_rollouts(n, t, 200 * (1 + crit / n) * noise, bootstrap=100, shared=shared)
        rate = exchange_rate(law, 320, 80, 5)
        held.append(rate.low <= truth <= rate.high)
    assert np.mean(held) >= 0.89
