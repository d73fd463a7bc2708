"""The race beside peers: bookkeeping by hand, and contenders that are installed anyway, run for one small turn."""

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
