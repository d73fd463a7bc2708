"""Curves in two precisions: the comparison by hand, and a run of each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


def test_t_by_hand() -> None:
    from precision_curves import compare

    exact, rough = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[4.0, 2.0], [6.0, 2.0]])
    found = compare(exact, rough)
    assert found["float32"] == [2.0, 2.0]
    assert found["bf16"] == [5.0, 2.0]
    assert found["t"] == [pytest.approx(3 / 2**0.5), None]  # variances 2 and 2 over two seeds
    assert compare(exact[:1], rough[:1])["t"] == [None, None]
    unknown = compare(exact * [1.0, np.nan], rough)
    assert (unknown["float32"], unknown["t"][1]) == ([2.0, None], None)


class Ran:
    """A run of 100 observations: a row at every fifth, four games; explained variance says the seed."""

    def __init__(self, seed: float) -> None:
        self.seed = seed

    def metrics(self) -> pd.DataFrame:
        at = np.arange(5, 101, 5)
        columns = {"observations": at, "entropy": at * 1.0, "explained_variance": self.seed, "score": -1.0}
        return pd.DataFrame({**columns, "noise_scale": np.where(at > 90, 7.0, np.nan)})

    def episodes(self) -> pd.DataFrame:
        return pd.DataFrame({"observations": [10, 12, 15, 20], "score": [5.0, 1.0, 2.0, 9.0]})


def test_a_tenth_is_what_fell_into_it() -> None:
    from precision_curves import tenths

    found = tenths(Ran(3), 100)  # type: ignore[arg-type]
    assert found["score"][:2] == [5.0, 4.0]  # games, not the rows' running mean
    assert np.isnan(found["score"][2:]).all()
    assert found["entropy"] == [7.5, 17.5, 27.5, 37.5, 47.5, 57.5, 67.5, 77.5, 87.5, 97.5]
    assert np.isnan(found["noise_scale"][:9]).all()
    assert found["noise_scale"][9] == 7.0


def test_every_seed_is_run_in_both_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import precision_curves

    asked: list[tuple[int, str, str]] = []

    def train(config: Any, out: Path, **_: Any) -> Ran:
        asked.append((config.seed, config.precision, out.name))
        return Ran(config.seed + 10 * (config.precision == "bf16"))

    monkeypatch.setattr(precision_curves.rl_gns, "train", train)
    file = tmp_path / "curves.json"
    command = ["precision_curves.py", "--out", str(tmp_path), "--observations", "100", "--seeds", "4", "6"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(file)])
    precision_curves.main()
    both = ("float32", "bf16")
    assert asked == [(seed, precision, f"{precision}-s{seed}") for seed in (4, 6) for precision in both]
    found = json.loads(file.read_text())["columns"]["explained_variance"]
    assert (found["float32"], found["bf16"]) == ([5.0] * 10, [15.0] * 10)
    assert found["t"] == [pytest.approx(10 / 2**0.5)] * 10


@pytest.mark.slow
def test_both_precisions_are_trained_and_compared(tmp_path: Path) -> None:
    out = tmp_path / "curves.json"
    command = [sys.executable, str(BENCH / "precision_curves.py"), "--out", str(tmp_path / "runs")]
    command += [
        "--algo",
        "a2c",
        "--observations",
        "1000",
        "--seeds",
        "1",
        "--num-envs",
        "4",
        "--device",
        "cpu",
    ]
    subprocess.run([*command, "--threads", "1", "--json", str(out)], check=True, capture_output=True)
    found = json.loads(out.read_text())["columns"]
    assert found["entropy"]["float32"] != found["entropy"]["bf16"]
    assert found["entropy"]["float32"][-1] == pytest.approx(found["entropy"]["bf16"][-1], rel=0.05)
