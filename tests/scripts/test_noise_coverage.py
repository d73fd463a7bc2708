"""The interval's coverage: made-up gradients have the noise scale they say, the page's cells are right."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_moments_of_units_by_hand() -> None:
    """Units (1, 1) and (3, 1): their product is 4 = |G|², half the squared distance 2 = tr(Σ)."""
    from coverage_problems import signal_and_noise

    signal, noise = signal_and_noise(np.array([[[1.0, 1.0], [3.0, 1.0]]]))
    assert (signal.item(), noise.item()) == (4.0, 2.0)


def problems() -> Iterator[Any]:
    from coverage_problems import Bandit, Gaussian, Spiky

    yield Gaussian(20, 4, 3.0)
    yield Gaussian(20, 4, 3.0, memory=0.5)
    yield Bandit(4, 0.5, 4, 3.0)
    yield Spiky(Gaussian(20, 4, 3.0), alike=False, times=3.0, every=5.0)


def test_samples_have_the_noise_scale_they_are_said_to_have() -> None:
    for problem in problems():
        signal, noise = problem.sample(np.random.default_rng(1), 2000, 10)
        assert noise.mean() / signal.mean() == pytest.approx(problem.truth, rel=0.06), problem.name
        assert f"{problem.name} ".split(" B")[0].endswith("K 4, 3"), problem.name


def test_what_moves_has_the_truth_in_the_average_over_the_window() -> None:
    from coverage_problems import Gaussian, Moving

    moving = Moving(Gaussian(20, 4, 3.0), signal=3.0, noise=1 / 3)
    signal, noise = moving.sample_over(np.random.default_rng(1), 1000, 40, halflife=10.0)
    share = 2.0 ** (np.arange(40) / 10)
    assert (share @ moving.true_noise / (share @ moving.true_signal))[0] == pytest.approx(moving.truth)
    assert moving.true_signal[10, 0] / moving.true_signal[0, 0] == pytest.approx(3.0)
    assert moving.true_noise[10, 0] / moving.true_noise[0, 0] == pytest.approx(1 / 3)
    assert signal[-1].mean() == pytest.approx(moving.true_signal[-1, 0], rel=0.1)
    assert noise[-1].mean() == pytest.approx(moving.true_noise[-1, 0], rel=0.1)


def test_a_worlds_samples_are_held_against_its_exact_moments() -> None:
    from coverage_worlds import Table

    from envs import solvable

    arms = {"logits": np.zeros((1, 4)), "value": np.array([5.0])}
    world = Table(solvable.Bandit, arms, 1, 4, 30.0)
    assert world.environments > 1
    world.sample(np.random.default_rng(0), 200, 2)
    assert world.z < 4.5
    world.moments = world.moments * 2
    with pytest.raises(ArithmeticError, match="standard errors off"):
        world.sample(np.random.default_rng(0), 200, 2)


def test_shares_of_repetitions_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is signal / noise = 0.5; of four intervals three hold it, one of them from 0 on."""
    import noise_coverage as script

    ends = {"low": np.array([0.0, 0.5, 0.25, 0.75]), "high": np.array([np.inf, 2.0, 0.5, 1.0])}
    readings = {"x": np.array([3.0, 3.0, 2.3, 0.1]), "y": np.array([2.0, 2.0, 2.0, 2.0])}
    asked: list[float] = []

    def interval(blocks: Any, confidence: float) -> Any:
        asked.append(confidence)
        return SimpleNamespace(**ends, **readings)

    class Rests:
        truth = 2.0

        def sample(self, rng: Any, repetitions: int, updates: int) -> Any:
            return np.ones((updates, repetitions)), np.full((updates, repetitions), 2.0)

    monkeypatch.setattr(script, "ratio_interval", interval)
    regimes = (script.Regime("12 updates", 12, 1e6),)
    (found,) = script.coverage(Rests(), regimes, 4, seed=0, confidence=0.8)
    assert asked == [0.8]
    # The error x - y / 2 has a standard deviation of 1.19: one x is below 1.64 times that.
    assert found == script.Coverage(0.75, 0.25, 0.25, 1.75, 0.8)
    assert found.text(with_width=False) == "**75.0** (25, 25)"
    assert found.text(with_width=True) == "**75.0** (25, 25) ±88"
    assert found._replace(covered=0.785).text(with_width=False) == "78.5 (25, 25)"


@pytest.mark.parametrize(("nominal", "inside", "outside"), [(0.95, 0.932, 0.928), (0.99, 0.9835, 0.982)])
def test_bold_is_what_the_page_says(nominal: float, inside: float, outside: float) -> None:
    from noise_coverage import Coverage

    bold = ["**" in Coverage(covered, 0, 0, 1, nominal).text(False) for covered in (inside, outside)]
    assert bold == [False, True]


def test_a_page_keeps_what_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import noise_coverage as script

    titles = ("Independent updates", "Solvable world: chain")
    sections = [script.Section(title, []) for title in titles]
    monkeypatch.setattr(script, "sections", lambda quick: iter(sections))
    count = itertools.count()

    def table(section: Any, repetitions: int, seed: int) -> str:
        return f"{repetitions} of seed {seed}, measured as number {next(count)}"

    monkeypatch.setattr(script, "table", table)
    out = tmp_path / "coverage.md"
    command = ["noise_coverage.py", "--repetitions", "40", "--world-repetitions", "20", "--seed", "5"]
    for more in ([], ["--only", "Solvable world"]):
        monkeypatch.setattr(sys, "argv", [*command, *more, "--out", str(out)])
        script.main()
    parts = out.read_text().split("\n## ")
    assert [part.split("\n\n")[:2] for part in parts[1:3]] == [
        [titles[0], "40 of seed 5, measured as number 0\n"],
        [titles[1], "20 of seed 5, measured as number 2\n"],
    ]


def test_a_table_says_its_standard_error() -> None:
    from coverage_problems import Gaussian
    from noise_coverage import Regime, Section, table

    section = Section("", [Gaussian(20, 4, 3.0)], (Regime("12 updates", 12, 1e6),), 0.8)
    lines = table(section, 100, seed=0).splitlines()
    assert lines[0] == "100 repetitions: one standard error is about 4.0 points."
    assert lines[2:4] == ["| problem | 12 updates |", "|---|---|"]
    assert lines[4].startswith("| Gaussian, d_eff 20, K 4, 3 B | ")


def test_variance_from_within_an_update_by_brute_force() -> None:
    from noise_within import variance_within

    units = 5
    pairs = list(itertools.combinations(range(units), 2))
    h = np.random.default_rng(0).standard_normal((3, len(pairs)))
    apart = [(a, b) for a, b in itertools.permutations(range(len(pairs)), 2) if not {*pairs[a]} & {*pairs[b]}]
    wanted = h.mean(-1) ** 2 - np.mean([h[:, a] * h[:, b] for a, b in apart], 0)
    np.testing.assert_allclose(variance_within(h, units), wanted)
