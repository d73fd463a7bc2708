"""`rl-gns study claims`: its tables, its part of a page, the chart, and bad input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.cli import main
from rl_gns.report import overview
from rl_gns.report.claims import BEGIN, END, into
from rl_gns.report.study import report
from rl_gns.studies.scope import Scope, of_study
from rl_gns.studies.study import Study

Made = Callable[..., Scope]
Measured = Callable[..., Study]


def test_command_page_and_report(
    measured: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = measured()
    page = tmp_path / "results.md"
    page.write_text(f"before\n{BEGIN}\nEARLIER TEXT\n{END}\nafter\n")
    words = ["rl-gns", "study", "claims", str(study.path), "--to", str(tmp_path / "out"), "--into", str(page)]
    monkeypatch.setattr("sys.argv", words)
    main()
    capsys.readouterr()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "EARLIER TEXT" not in text
    assert text.count(BEGIN) == 1
    assert "| P5 |" in text
    assert "n4-t5-lr1e-3-s1" in text
    again = page.read_bytes()
    picture = tmp_path / "figures" / "results-claims.svg"
    assert "](figures/results-claims.svg)" in text
    drawn = picture.read_bytes()
    assert b"<svg" in drawn
    into(page, [of_study(study)])
    assert (page.read_bytes(), picture.read_bytes()) == (again, drawn)
    frame = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(frame["verdict"]) <= {"pass", "fail", "can't tell"}
    assert {"claims_runs.csv", "predictors.csv", "closest.csv"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    html = report(study, tmp_path / "page" / "report.html", bootstrap=20).read_text()
    assert "What the paper claims" in html
    assert "What predicts B_crit" in html


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name at least one study's file"),
        (["nothing.toml"], "there is no study file nothing.toml"),
        (["{study}", "{study}"], "two studies have the same name"),
        (["{study}", "--into", "{page}"], "once each, in this order"),
    ],
)
def test_bad_input_is_one_line(
    measured: Measured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    study = measured()
    page = tmp_path / "page.md"
    page.write_text("no markers")
    filled = [word.format(study=study.path, page=page) for word in words]
    monkeypatch.setattr("sys.argv", ["rl-gns", "study", "claims", *filled])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert page.read_text() == "no markers"
    assert not (tmp_path / "figures").exists()


def test_the_chart_has_a_row_for_every_front_the_paper_has_and_for_the_hardest(made: Made) -> None:
    table = overview.rows(
        [made(), dataclasses.replace(made(critical={4.5: 100.0, 5.0: 120.0}), name="other")]
    )
    assert table["label"].tolist() == ["made, 2", "made, 3", "other, 5"]
    assert table["b_crit"].to_numpy() == pytest.approx([74, 122, 120], rel=0.1)
    assert table["b_crit_published"].tolist()[:2] == [74, 122]
    assert table["ratio"].to_numpy() == pytest.approx([6, 6, 6], rel=0.15)
    panels = overview.overview(table).axes
    for panel, name in zip(panels, ("b_crit", "e_min", "ratio"), strict=True):
        dots = panel.lines[0].get_xydata()
        assert dots == pytest.approx(np.column_stack([table[name], range(3)]))
        assert len(panel.collections[0].get_segments()) == 3  # type: ignore[attr-defined]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == table["label"].tolist()
