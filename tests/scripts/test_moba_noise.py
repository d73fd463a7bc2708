"""The script behind the lane-battle world's table: what it takes for known, and its figure. It trains nothing here."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import moba_noise

    monkeypatch.setattr(moba_noise, "RESULTS", tmp_path)
    yield moba_noise
    sys.modules.pop("moba_noise")


def row(variant: str, rules: int, seed: int, asked: int, value: float, **more: Any) -> dict[str, Any]:
    ends = {"noise_scale_low": value / 2, "noise_scale_high": value * 2}
    return {
        **{"variant": variant, "rules": rules, "seed": seed, "asked": asked, "observations": asked},
        **{"noise_scale": value, **ends, **more},
    }


def test_a_row_of_other_rules_or_another_seed_is_not_known(script: Any) -> None:
    now = script.moba_settings.RULES
    assert not script.known("1v1", 0, 1)
    rows = [row("1v1", now, 1, 0, 5.0), row("1v1", now - 1, 2, 0, 5.0), row("pong", 0, 1, 0, 5.0)]
    pd.DataFrame(rows).to_csv(script.table(), index=False)
    assert script.known("1v1", 0, 1)
    assert not script.known("1v1", 0, 2)
    assert not script.known("1v1", script.SHORT, 1)
    assert script.known("pong", 0, 1)


def test_every_level_of_a_knob_is_a_variant(script: Any) -> None:
    names = [variant.name for variant in script.variants(3)]
    assert len(set(names)) == len(names)
    assert {name for levels in script.KNOBS.values() for name in levels} <= set(names)
    assert {variant.config.seed for variant in script.variants(3)} == {3}


def test_the_figure_has_the_newest_rules_and_a_line_through_the_medians(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("heroes=1", 1, 1, 0, 1e6), row("along", 1, 1, 0, 50.0, rating=20)]
    rows += [row("heroes=1", 2, 1, 2_000_000, 7.0), row("heroes=3", 2, 1, 2_000_000, 8.0)]
    for seed, value in ((1, 10.0), (2, 33.0), (3, 20.0)):
        rows += [
            row("heroes=1", 2, seed, 0, value),
            row("heroes=3", 2, seed, 0, 2 * value),
            row("heroes=5", 2, seed, 0, 3 * value),
        ]
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    script.figure(pd.DataFrame(rows), tmp_path / "noise.png")
    along, heroes = drawn[0].axes
    assert along.get_lines()[0].get_ydata().tolist() == [50.0]
    lines = [line.get_xydata().tolist() for line in heroes.get_lines()]
    assert [[0.0, 20.0], [1.0, 40.0], [2.0, 60.0]] in lines
    assert [[0.0, 7.0], [1.0, 8.0]] in lines  # after two million observations
    assert max(y for line in lines for _, y in line) == 99.0  # what older rules gave is left out


def test_rounds_are_a_whole_game(script: Any) -> None:
    """A game of 600 s is 4,500 decisions, 35 rollouts of 128."""
    config = script.variants(1)[0].config
    assert script.rounds(config) == 35
    assert script.rounds(dataclasses.replace(config, env_options={"game_length": 150})) == 9


@pytest.mark.parametrize(("name", "worlds", "rules"), [("1v1", 2, None), ("pong", 4, 0)])
def test_a_row_holds_what_was_measured(
    name: str, worlds: int, rules: int | None, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = script.frozen.FrozenNoise(50.0, 20.0, float("inf"), 5.0, 0.5, 25.0, 128, 1120)
    asked: list[Any] = []

    def measure(config: Any, weights: Any, **how: Any) -> Any:
        asked.append((weights, how))
        return measured

    monkeypatch.setattr(script.frozen, "measure", measure)
    monkeypatch.setattr(script, "start_of", lambda config: "first weights")
    config = script.variants(3)[0].config
    script.note(name, config, 0, None, 35, {})
    state = {"policy": "weights", "counts": [2_027_520, 99]}
    said = script.note(name, config, 2_000_000, state, 35, {"score": 7.0})
    # Every seed's worlds are its own.
    how = {"groups": 16, "worlds": worlds, "rounds": 35, "seed": 977 + 2}
    assert asked == [("first weights", how), ("weights", how)]
    rows = pd.read_csv(script.table())
    assert rows["asked"].tolist() == [0, 2_000_000]
    assert rows["observations"].tolist() == [0, 2_027_520]
    assert rows["score"].fillna(-1).tolist() == [-1.0, 7.0]
    last = rows.iloc[1].to_dict()
    scales = {"noise_scale": 50.0, "noise_scale_low": 20.0, "noise_scale_high": float("inf"), "in_step": 5.0}
    sums = {"signal": 0.5, "noise": 25.0, "unit_observations": 128, "units": 1120}
    wanted = {**scales, **sums, "variant": name, "seed": 3}
    assert {key: last[key] for key in wanted} == wanted
    assert last["rules"] == (script.moba_settings.RULES if rules is None else rules)
    assert said == f"{name} of seed 3 at 2,000,000: 50 (20 to inf)"
