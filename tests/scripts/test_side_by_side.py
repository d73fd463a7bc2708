"""The race beside peers: bookkeeping by hand, and contenders that are installed anyway, run for one small turn."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def test_rounds_are_added_and_absence_keeps_its_reason() -> None:
    from side_by_side import add, summary

    first = {
        "rates": {"ours": [10.0, 20.0], "sb3": [5.0, 5.0]},
        "facts": {"ours": {}, "sb3": {"version": "2"}},
        "absent": {"envpool": "it is not installed: run with --setup first"},
    }
    second = {
        "rates": {"ours": [30.0], "envpool": [10.0]},
        "facts": {"envpool": {}},
        "absent": {"sb3": "gone"},
    }
    both = add(add({}, first), second)
    assert both["rates"] == {
        "ours": [10.0, 20.0, 30.0],
        "sb3": [5.0, 5.0, None],
        "envpool": [None, None, 10.0],
    }
    assert both["absent"] == {}
    found = summary(both)
    assert found["ours"] == {"median": 20.0, "low": 10.0, "high": 30.0, "rounds": 3}
    assert (found["sb3"]["ratio"], found["sb3"]["rounds"]) == (3.0, 2)
    assert found["envpool"]["ratio"] == 3.0


class Breaking:
    """Trains at 10, until its turn number `last` is over."""

    def __init__(self, last: int) -> None:
        self.left = last

    def turn(self) -> float:
        from side_by_side import Absent

        self.left -= 1
        if self.left < 0:
            raise Absent("MemoryError")
        return 10.0


def test_who_breaks_on_the_way_leaves_the_others_their_rounds() -> None:
    from side_by_side import add, alternate, summary

    absent: dict[str, str] = {}
    rates = alternate({"ours": Breaking(99), "sb3": Breaking(3)}, 4, absent=absent)
    assert rates == {"ours": [10.0] * 4, "sb3": [10.0, 10.0, None, None]}
    assert absent == {"sb3": "it broke in round 3: MemoryError"}
    row = add({}, {"rates": rates, "facts": {}, "absent": absent})
    assert row["absent"] == absent
    assert (summary(row)["sb3"]["rounds"], summary(row)["sb3"]["ratio"]) == (2, 1.0)


def test_rounds_of_another_race_are_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import side_by_side

    def race(*_: Any) -> dict[str, Any]:
        return {"rates": {"ours": [5.0]}, "facts": {}, "absent": {}}

    monkeypatch.setattr(side_by_side, "race", race)
    file = tmp_path / "race.json"
    command = [
        "side_by_side.py",
        "--tiny",
        "--algo",
        "a2c",
        "--only",
        "ours",
        "--rounds",
        "1",
        "--json",
        str(file),
    ]
    monkeypatch.setattr(side_by_side.sys, "argv", command)
    side_by_side.main()
    before = file.read_text()
    side_by_side.main()
    assert len(json.loads(file.read_text())["algorithms"]["a2c"]["rates"]["ours"]) == 2
    file.write_text(before)
    for other in (["--game", "breakout"], ["--rounds", "0"]):
        monkeypatch.setattr(side_by_side.sys, "argv", [*command, *other])
        with pytest.raises(SystemExit):
            side_by_side.main()
        assert file.read_text() == before
    said = capsys.readouterr().err
    assert "rounds of another race" in said
    assert "must be at least 1" in said


def test_a_peer_that_is_not_there_is_listed_with_the_reason(tmp_path: Path) -> None:
    from side_by_side import race, summary, table

    (tmp_path / "envpool").mkdir()
    (tmp_path / "envpool" / "failed").write_text("ERROR: no wheel")
    row = race(["ours", "envpool", "sample-factory"], "a2c", "pong", tmp_path, rounds=1, tiny=True)
    assert row["absent"] == {
        "envpool": "it can't be installed: ERROR: no wheel",
        "sample-factory": "Sample Factory has no A2C",
    }
    assert row["rates"]["ours"][0] > 0
    assert "absent: it can't be installed" in table("a2c", {**row, "summary": summary(row)})


def test_a_contender_that_breaks_says_why(tmp_path: Path) -> None:
    from side_by_side import race

    row = race(["ours"], "a2c", "no_such_game", tmp_path, rounds=1, tiny=True)
    assert "no Atari game 'no_such_game'" in row["absent"]["ours"]


@pytest.mark.slow
def test_stable_baselines_takes_turns_with_ours(tmp_path: Path) -> None:
    from side_by_side import race

    row = race(["ours", "sb3", "limit"], "ppo", "pong", tmp_path, rounds=1, tiny=True)
    assert row["absent"] == {}
    assert all(rates[0] > 0 for rates in row["rates"].values())


def test_medians_over_rounds_and_their_ranges_by_hand() -> None:
    from side_by_side import said, summary

    found = summary({"rates": {"ours": [10.0, 20.0, 90.0], "sb3": [2.0, 10.0, 15.0]}})
    assert found["ours"] == {"median": 20.0, "low": 10.0, "high": 90.0, "rounds": 3}
    ratios = {"ratio": 5.0, "ratio_low": 2.0, "ratio_high": 6.0}  # round by round: not 20 / 10
    assert found["sb3"] == {"median": 10.0, "low": 2.0, "high": 15.0, "rounds": 3, **ratios}
    assert said(found["sb3"]).split() == ["10", "2-15", "5.00", "2.00-6.00"]


class Timed:
    """Notes its turns, each of which takes ten seconds."""

    def __init__(self, name: str, order: list[str], clock: Any) -> None:
        self.name, self.order, self.clock = name, order, clock

    def turn(self) -> float:
        self.order.append(self.name)
        self.clock.now += 10.0
        return float(len(self.order))


def test_the_order_reverses_and_no_round_begins_late(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import side_by_side

    monkeypatch.setattr(side_by_side, "time", clock)
    order: list[str] = []
    entered = {name: Timed(name, order, clock) for name in ("ours", "sb3")}
    rates = side_by_side.alternate(entered, 3)
    assert "".join(name[0] for name in order) == "soossoos"
    assert rates == {"ours": [3.0, 6.0, 7.0], "sb3": [4.0, 5.0, 8.0]}  # the first of each warms up
    assert len(side_by_side.alternate(entered, 9, seconds=50)["ours"]) == 2
    assert len(side_by_side.alternate(entered, 9, seconds=0)["ours"]) == 1


def test_a_rate_is_observations_by_the_time_of_the_turn(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import side_by_side

    def line(patience: float) -> dict[str, float]:
        clock.now += 4.0
        return {"observations": 1000, "learn": 0.5}

    one = side_by_side.Contender.__new__(side_by_side.Contender)
    one._process = SimpleNamespace(stdin=io.StringIO())  # type: ignore[assignment]
    one._line = line  # type: ignore[method-assign]
    monkeypatch.setattr(side_by_side, "time", clock)
    assert one.turn() == 250.0
    assert one.said == {"learn": 0.5}


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_everybody_gets_the_same_work(algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import limits
    import side_by_side
    from side_by_side import NAMES, SIZES, UPDATES, Absent, enter

    assert SIZES == {"a2c": (16, 5), "ppo": (8, 128)}
    entered: dict[str, tuple[str, dict[str, Any]]] = {}

    def contender(python: Path, program: str, **arguments: Any) -> None:
        entered[name] = (program, arguments)

    def limit(*work: Any) -> tuple[None, None]:
        entered[name] = ("limit", dict(enumerate(work)))
        return None, None

    monkeypatch.setattr(side_by_side, "Contender", contender)
    monkeypatch.setattr(side_by_side, "python_of", lambda folder, name: folder / name)
    monkeypatch.setattr(limits, "contender", limit)
    for name in NAMES:
        try:
            enter(name, algo, "pong", tmp_path, SIZES[algo], UPDATES[algo], {"precision": "bf16"})
        except Absent:
            assert (algo, name[:14]) == ("a2c", "sample-factory")
    num_envs, rollout = SIZES[algo]
    size = {"algo": algo, "num_envs": num_envs, "rollout": rollout, "game": "pong", "updates": UPDATES[algo]}
    work = entered.pop("limit")[1]
    assert list(work.values()) == [algo, num_envs, rollout, UPDATES[algo] // 2, "pong"]  # on every core
    for _, arguments in entered.values():
        assert {key: arguments[key] for key in size} == size
    own = {name: (program, set(arguments) - set(size)) for name, (program, arguments) in entered.items()}
    assert own["ours"] == ("run_ours.py", {"options"})
    assert entered["ours"][1]["options"] == {"precision": "bf16"}
    assert own["sb3"] == own["sb3-subproc"] == ("run_sb3.py", {"processes"})
    assert (entered["sb3"][1]["processes"], entered["sb3-subproc"][1]["processes"]) == (False, True)
    assert own["envpool"] == ("run_envpool.py", set())
    if algo == "ppo":
        assert [entered[name][1]["asynchronous"] for name in NAMES[4:6]] == [False, True]
