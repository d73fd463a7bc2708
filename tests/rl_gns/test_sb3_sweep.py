"""The example that sweeps Stable-Baselines3 and hands its rows to `rl-gns fronts`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd

from rl_gns.analysis import smooth
from rl_gns.studies.own_columns import read
from rl_gns.studies.own_tables import runs_table

SCRIPT = Path(__file__).parents[2] / "scripts" / "examples" / "sb3_sweep.py"


def test_rows_of_the_sweep_are_what_the_command_takes(tmp_path: Path) -> None:
    """Two tiny runs by the script itself; called again it makes nothing; the noise scale comes with the games."""
    words = [
        "--to",
        str(tmp_path),
        "--num-envs",
        "4",
        "8",
        "--seeds",
        "1",
        "--times",
        "1",
        "--budget",
        "1600",
    ]
    first = subprocess.run([sys.executable, SCRIPT, *words], check=True, capture_output=True, text=True)
    files = sorted(tmp_path.glob("*.csv"))
    assert [path.name for path in files] == ["n4-x1-s1.csv", "n8-x1-s1.csv"]
    assert len(first.stdout.splitlines()) == 2
    again = subprocess.run([sys.executable, SCRIPT, *words], check=True, capture_output=True, text=True)
    assert again.stdout == ""

    rows = pd.read_csv(files[0])
    assert rows["observations"].is_monotonic_increasing
    assert rows["score"].count() > 10
    assert rows["score"].isna().sum() == 1600 / 20, "a reading an update"
    table = runs_table(read(files), [5, 100_000], halflife=400)
    assert table["batch"].tolist() == [20, 20, 40, 40]
    assert table["censored"].tolist() == [False, True, False, True]


def test_a_run_stops_where_its_smoothed_score_reaches_the_stop() -> None:
    spec = importlib.util.spec_from_file_location("sb3_sweep", SCRIPT)
    sweep = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sweep)
    rows = sweep.run(num_envs=4, rate=1e-3, seed=1, budget=8_000, stop=45)
    games = rows.dropna(subset="score")
    smoothed = smooth(games["observations"], games["score"], sweep.HALFLIFE)
    assert smoothed[-1] >= 45 > smoothed[:-4].max(), "four environments may end a game at once"
    assert 100 < rows["observations"].max() < 8_000
