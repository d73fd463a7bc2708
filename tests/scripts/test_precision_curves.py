"""Curves in two precisions: the comparison by hand, and a run of each."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
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
