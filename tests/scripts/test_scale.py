"""Memory is counted over a whole tree; a small case brings every number; the figure is drawn."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


def test_memory_counts_what_children_hold() -> None:
    from scale import memory_of, tree_of

    program = "import sys; held = bytearray(b'x') * 50_000_000; print('ready', flush=True); sys.stdin.read()"
    before = memory_of(tree_of(os.getpid()))
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert child.pid in tree_of(os.getpid())
    assert 50e6 < memory_of(tree_of(os.getpid())) - before < 80e6
    child.communicate()


def test_a_case_and_its_figure(tmp_path: Path) -> None:
    from scale import draw, text

    asked = {"algo": "a2c", "num_envs": 4, "cores": 1, "seconds": 0.3}
    command = [sys.executable, str(BENCH / "scale.py"), "--case", json.dumps(asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    assert 1 < row["sps"] < 1e5
    assert row["noise_cadence"] == 6
    assert abs(row["sps_without_noise"] / row["sps"] - 1 - row["noise_cost"]) < 1e-9
    assert 0 < row["bytes_held"] <= row["bytes_peak"]
    assert "a2c     4 x   5, 1 cores" in text(row)
    draw([row, {**row, "num_envs": 1, "noise_cost": None, "noise_cadence": None}], tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000
