"""The race of environments alone: who is installed takes turns, who is not is listed with the reason."""

from pathlib import Path

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
