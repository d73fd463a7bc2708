"""The first command of all, `make demo`, learns and measures: its own line, run as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rl_gns

MAKEFILE = Path(__file__).parent.parent / "Makefile"
FLOOR = 2.0
"""Random play has 1.3 +- 0.2 (scripts/studies/blind_breakout); a run that waits for its optimizer stays there."""


def commands(out: Path) -> list[list[str]]:
    """The recipe of `demo` that uses the installed command, each line as arguments of `python -m rl_gns`."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE.read_text(), re.MULTILINE)
    assert recipe
    lines = [line.strip().replace("$(OUT)", str(out)) for line in recipe[1].splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("$(BIN)/rl-gns")]


def test_the_demo_is_a_run_and_its_noise() -> None:
    assert [words[0] for words in commands(Path("x"))] == ["train", "noise"]


@pytest.mark.slow
def test_the_demo_learns_and_knows_its_noise_scale(tmp_path: Path) -> None:
    for words in commands(tmp_path / "demo"):
        done = subprocess.run(
            [sys.executable, "-m", "rl_gns", *words], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    metrics = rl_gns.load_run(tmp_path / "demo").metrics()
    assert metrics["score"].max() > FLOOR
    assert metrics["information"].iloc[-1] > 1e-3, "it plays blind"
    assert metrics["noise_scale"].notna().any()
