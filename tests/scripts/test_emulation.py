"""The race of environments alone: who is installed takes turns, who is not is listed with the reason."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest


def test_ours_and_ale_py_take_turns_and_an_absent_peer_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import emulation
    from emulation import race, table

    monkeypatch.setattr(emulation, "OBSERVATIONS", 500)
    row = race(2, rounds=1, game="pong", peers=tmp_path)
    assert row["absent"] == {"envpool": "it is not installed: run with --setup first"}
    assert set(row["rates"]) == {"ours", "ale-py", "limit"}
    assert all(rates[0] > 0 for rates in row["rates"].values())
    assert row["summary"]["ale-py"]["ratio"] == row["rates"]["ours"][0] / row["rates"]["ale-py"][0]
    assert "absent: it is not installed" in table({"2": row})


def test_everybody_steps_as_often_and_the_limit_is_of_emulators_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import emulation

    entered: list[tuple[Any, ...]] = []

    class Contender:
        facts: ClassVar[dict[str, Any]] = {}

        def __init__(self, python: Path, program: str, patience: float, **arguments: Any) -> None:
            entered.append((arguments.pop("whose"), program, arguments))

        def turn(self) -> float:
            return 3.0

        def close(self) -> None:
            entered.append(("closed",))

    def limit(*work: Any) -> tuple[Callable[[], float], Callable[[], None]]:
        entered.append(("limit", *work))
        return (lambda: 2.0), (lambda: entered.append(("closed",)))

    monkeypatch.setattr(emulation, "Contender", Contender)
    monkeypatch.setattr(emulation, "limit", limit)
    monkeypatch.setattr(emulation, "python_of", lambda *_: tmp_path)
    row = emulation.race(64, rounds=2, game="pong", peers=tmp_path)
    same = ("run_emulation.py", {"num_envs": 64, "steps": 93, "game": "pong"})  # 6,000 observations, about
    peers = [(name, *same) for name in ("ours", "ale-py", "envpool")]
    assert entered == [*peers, ("limit", "emulation", 64, 46, 1, "pong"), *[("closed",)] * 4]
    assert row["summary"]["limit"]["ratio"] == 1.5
    assert row["rates"]["envpool"] == [3.0, 3.0]


def test_rows_are_merged_of_one_game_only_and_listed_by_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import emulation

    def raced(num_envs: int, *_: Any) -> dict[str, Any]:
        return {"summary": {"ours": {"median": num_envs + 0.4, "low": 1, "high": 2}}, "absent": {}}

    monkeypatch.setattr(emulation, "race", raced)
    file = tmp_path / "emulation.json"
    for sizes in (["8", "512"], ["64"]):
        monkeypatch.setattr(sys, "argv", ["emulation.py", "--only", *sizes, "--json", str(file)])
        emulation.main()
    assert set(json.loads(file.read_text())["rows"]) == {"8", "64", "512"}
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert lines == [["8", "ours", "8"], ["64", "ours", "64"], ["512", "ours", "512"]]
    monkeypatch.setattr(sys, "argv", ["emulation.py", "--game", "breakout", "--json", str(file)])
    with pytest.raises(SystemExit):
        emulation.main()
    assert "has rows of pong, not breakout" in capsys.readouterr().err
    elsewhere = {
        "rows": {"8": raced(8)},
        "game": "pong",
        "machine": {"processors": 64, "system": "elsewhere"},
    }
    file.write_text(json.dumps(elsewhere))
    monkeypatch.setattr(sys, "argv", ["emulation.py", "--only", "64", "--json", str(file)])
    with pytest.raises(SystemExit):
        emulation.main()
    assert "has rows of another machine" in capsys.readouterr().err
    assert json.loads(file.read_text()) == elsewhere
