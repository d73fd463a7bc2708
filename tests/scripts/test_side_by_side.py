"""The race beside peers: bookkeeping by hand, and contenders that are installed anyway, run for one small turn."""

import json
from pathlib import Path

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
