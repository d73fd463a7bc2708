"""`rl-gns study claims`: its tables, its part of a page, the chart, and bad input."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis.claims import Band, Interval, claim
from rl_gns.cli import main
from rl_gns.report import overview
from rl_gns.report.claims import BEGIN, END, FRONTS_BEGIN, FRONTS_END, by_study, into
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
    page.write_text(f"top\n{FRONTS_BEGIN}\nOLD\n{FRONTS_END}\nbefore\n{BEGIN}\n{END}\nafter\n")
    into(page, [of_study(study)])
    fronts, claims = page.read_text().split(FRONTS_END)
    assert fronts.startswith(f"top\n{FRONTS_BEGIN}\n\n![")
    assert "OLD" not in fronts
    assert "| study | score | batches | seeds |" in fronts
    assert "![" not in claims
    assert claims.replace("\nbefore\n", "") == text.removeprefix("before\n").replace(fronts_of(text), "")
    frame = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(frame["verdict"]) <= {"pass", "fail", "can't tell"}
    assert {"claims_runs.csv", "predictors.csv", "closest.csv"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    html = report(study, tmp_path / "page" / "report.html", bootstrap=20).read_text()
    assert "What the paper claims" in html
    assert "What predicts B_crit" in html


def fronts_of(text: str) -> str:
    """The chart and the table before the claims."""
    return text[text.index("![") : text.index("\n\n", text.index("| study |")) + 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name at least one study's file"),
        (["nothing.toml"], "there is no study file nothing.toml"),
        (["{study}", "{study}"], "two studies have the same name"),
        (["{study}", "--into", "{page}"], "once each, in this order"),
        (["{study}", "--into", "{bytes}"], "bytes.md is no text in UTF-8"),
        (["{study}", "--into", "{half}"], "<!-- fronts --> and <!-- end of fronts --> once each"),
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
    page, half = tmp_path / "page.md", tmp_path / "half.md"
    page.write_text("no markers")
    half.write_text(f"{FRONTS_BEGIN}\n{BEGIN}\n{END}\n")
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe")
    paths = {"page": page, "half": half, "bytes": tmp_path / "bytes.md"}
    filled = [word.format(study=study.path, **paths) for word in words]
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
    shown = overview.texts(table)
    assert shown["B_crit, published"].tolist() == ["74", "122", "–"]
    assert shown["batches"].nunique() == 1
    assert "rollout" not in shown
    assert all(re.fullmatch(r"[0-9.k]+ \([0-9.k]+ to [0-9.k]+\)", cell) for cell in shown["B_crit"])
    panels = overview.overview(table).axes
    for panel, name in zip(panels, ("b_crit", "e_min", "ratio"), strict=True):
        dots = panel.lines[0].get_xydata()
        assert dots == pytest.approx(np.column_stack([table[name], range(3)]))
        assert len(panel.collections[0].get_segments()) == 3  # type: ignore[attr-defined]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == table["label"].tolist()


def test_claims_side_by_side_have_a_column_a_study_and_a_row_a_claim_and_band() -> None:
    nan, some, other = float("nan"), Band(high=2), Band(high=3)
    rows = [
        claim("P2", "scatter", "all Atari studies", some, Interval(nan, nan, nan)),
        claim("P2", "scatter", "second", some, Interval(5, 4, 6)),
        claim("P2", "scatter", "first", some, Interval(1, 0.5, 1.5)),
        claim("P1", "sizes", "second", some, Interval(1, 0.5, 2.5)),
        claim("P1", "sizes", "first", other, Interval(1, 0.5, 2.5)),
        claim("N1", "over the published", "first", some, Interval(1, 0.5, 1.5), where="at goal 2.5"),
        claim("N1", "over the published", "first", some, Interval(1, 0.5, 2.5), where="at goal 300"),
        claim("N1", "over the published", "second", some, Interval(nan, nan, nan)),
    ]
    wide = by_study(rows, ["first", "second", "third"])
    assert wide.columns.tolist() == ["claim", "what", "band", "first", "second", "all Atari studies"]
    assert wide.drop(columns=["what", "band"]).to_numpy().tolist() == [
        ["P2", "**pass**: 1 (0.5 to 1.5)", "**fail**: 5 (4 to 6)", "can't tell"],
        ["P1", "", "can't tell: 1 (0.5 to 2.5)", ""],
        ["P1", "**pass**: 1 (0.5 to 2.5)", "", ""],
        [
            "N1",
            "**pass** (at goal 2.5): 1 (0.5 to 1.5); can't tell (at goal 300): 1 (0.5 to 2.5)",
            "can't tell",
            "",
        ],
    ]
    assert wide["what"].tolist() == ["scatter", "sizes", "sizes", "over the published"]
