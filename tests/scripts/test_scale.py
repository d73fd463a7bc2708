"""Memory is counted over a whole tree; a small case brings every number; the figure is drawn."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

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
    assert row["bytes_per_env"] == (row["bytes_held"] - row["bytes_before"]) / 4
    assert 0 < row["bytes_held"] <= row["bytes_peak"]
    assert "a2c     4 x   5, 1 cores" in text(row)
    draw([row, {**row, "num_envs": 1, "noise_cost": None, "noise_cadence": None}], tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000


def test_rate_and_cost_by_hand() -> None:
    """Medians of 2 s plain and 5 s measuring, once in six: half a second more an update."""
    from scale import amounts

    found = amounts(100, 6, without=[2.0, 1.0, 9.0], with_noise=[5.0, 4.0, 30.0])
    assert found == {"sps": 40.0, "sps_without_noise": 50.0, "noise_cost": 0.25}
    found = amounts(100, 0, without=[2.0], with_noise=[])
    assert found == {"sps": 50.0, "sps_without_noise": 50.0, "noise_cost": None}


ROW: dict[str, Any] = {
    **{"algo": "a2c", "num_envs": 16, "rollout": 5, "cores": 2, "sps": 1234.0, "noise_cost": 0.034},
    **{"updates": 30, "bytes_per_env": 3 * 2**20, "bytes_peak": 5 * 2**29, "seconds_to_load": 2.0},
}


def test_units_of_a_row() -> None:
    from scale import text

    assert " ".join(text(ROW).split()) == (
        "a2c 16 x 5, 2 cores: 1,234 SPS measuring costs 3.4% 3.0 MiB an environment, peak 2.50 GiB, "
        "2 s to load, 30 updates"
    )


def test_the_figure_has_costs_of_many_updates_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scale

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    few, none = {**ROW, "num_envs": 64, "updates": 29}, {**ROW, "num_envs": 1, "noise_cost": None}
    scale.draw([few, ROW, none], tmp_path / "scale.png")
    rate, cost, memory = (panel.get_lines()[0].get_xydata().tolist() for panel in drawn[0].axes)
    assert rate == [[1.0, 1234.0], [16.0, 1234.0], [64.0, 1234.0]]
    assert cost == [[16.0, pytest.approx(3.4)]]
    assert memory == [[1.0, 2.5], [16.0, 2.5], [64.0, 2.5]]


def test_a_case_is_known_by_algorithm_size_and_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scale
    from arguments import machine

    asked: list[tuple[Any, ...]] = []

    def run(command: list[str], **_: Any) -> Any:
        case = json.loads(command[-1])
        asked.append((case["algo"], case["num_envs"], case["cores"], case["seconds"]))
        return SimpleNamespace(returncode=0, stdout="noise\n" + json.dumps({**ROW, **case}) + "\n")

    monkeypatch.setattr(scale, "subprocess", SimpleNamespace(run=run, PIPE=None))
    file = tmp_path / "scale.json"
    known = {"rows": [{**ROW, "cores": 2}, {**ROW, "cores": 1, "algo": "ppo"}], "machine": machine()}
    file.write_text(json.dumps(known))
    command = ["scale.py", "--algo", "a2c", "--envs", "16", "64", "--cores", "1", "--seconds", "3"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(file)])
    scale.main()
    scale.main()
    assert asked == [("a2c", 16, 1, 3.0), ("a2c", 64, 1, 3.0)]
    assert len(json.loads(file.read_text())["rows"]) == 4


def test_rows_of_another_machine_are_refused_and_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import scale

    file = tmp_path / "scale.json"
    file.write_text(json.dumps({"rows": [ROW], "machine": {"processors": 64, "system": "elsewhere"}}))
    before = file.read_bytes()
    monkeypatch.setattr(sys, "argv", ["scale.py", "--json", str(file)])
    with pytest.raises(SystemExit):
        scale.main()
    assert "has rows of another machine, {'processors': 64, 'system': 'elsewhere'}" in capsys.readouterr().err
    figure = tmp_path / "scale.png"
    monkeypatch.setattr(sys, "argv", ["scale.py", "--json", str(file), "--draw", "--figure", str(figure)])
    scale.main()
    assert figure.exists()
    assert file.read_bytes() == before
