"""The script behind the lane-battle world's table: what it takes for known, and its figure. It trains nothing here."""

from __future__ import annotations

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
    for seed, value in ((1, 10.0), (2, 30.0), (3, 20.0)):
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
    assert max(y for line in lines for _, y in line) == 90.0  # what older rules gave is left out
