"""The page holds every figure and table, and a browser draws them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.errors import UserError
from rl_gns.report.contents import paper_of
from rl_gns.report.study import report
from rl_gns.studies.study import Study, load_study
from rl_gns.training import config as configs
from rl_gns.training.metrics import MetricsWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TEXT = """
env = "{env}"
goals = [100, 200]
observations = 1_000_000
halflife = 1_000
[grid]
num_envs = [2, 8, 32, 128, 512]
rollout = {rollout}
learning_rate = [1e-3]
seeds = [1, 2]
"""


def played(folder: Path, env: str = "gym:CartPole-v1", rollout: str = "[5, 20]", text: str = TEXT) -> Study:
    """A study whose runs reach score g after about g S (1 + 300/B)/300 updates, S = 300."""
    (folder / "study.toml").write_text(text.format(env=env, rollout=rollout))
    study = load_study(folder)
    rng = np.random.default_rng(0)
    for run in study.plan({}):
        path = study.folder(run)
        path.mkdir(parents=True)
        configs.save(run.config, path / "config.toml", {})
        ramp = 300 * (run.batch + 300) * np.exp(0.05 * rng.normal()) * (run.learning_rate / 1e-3)
        # Where the study would stop it: beyond score 200, or at the end of the budget.
        end = min(250 * ramp / 300 + 5_000, 1_000_000) if study.spec.goals[-1] <= 200 else 1_000_000
        writer = MetricsWriter(path / "metrics.db")
        for k in range(1, 11):
            x = end * k / 10
            games = [
                (int(at), 0, min(300 * at / ramp, 300), 10.0) for at in np.linspace(x - end / 10 + 1, x, 40)
            ]
            row = {"observations": x, "score": 300 * x / ramp, "noise_scale": 100.0 * k}
            writer.write(max(round(x / run.batch), k), row, {}, games)
        writer.close()
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return played(tmp_path_factory.mktemp("played"))


@pytest.fixture(scope="module")
def path(study: Study) -> Path:
    return report(study, bootstrap=100)


FIGURES = 7


def test_page_is_self_contained(study: Study, path: Path) -> None:
    text = path.read_text()
    assert text.count("<img ") == FIGURES
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    links, ids = set(re.findall(r'href="#([^"]*)"', text)), re.findall(r' id="([^"]*)"', text)
    assert links <= set(ids)
    assert len(ids) == len(set(ids))
    assert {f"run-{run.id}" for run in study.plan()} <= links
    assert "<script" not in text
    for run in study.plan():
        assert f"<td>{run.id}</td>" in text
    assert text.count("rl-gns train gym:CartPole-v1") == len(study.plan())
    for name in ("figures/two-axes.svg", "figures/two-axes.png", "tables/fronts.csv", "tables/table.parquet"):
        assert (path.parent / name).stat().st_size > 100
    metrics = pd.read_parquet(path.parent / "tables" / "metrics.parquet")
    assert set(metrics["id"]) == {run.id for run in study.plan()}
    runs = pd.read_csv(path.parent / "tables" / "runs.csv")
    assert set(runs["run"]) == set(metrics["id"])
    assert runs["command"].str.startswith("rl-gns train gym:CartPole-v1").all()
    assert sum(file.stat().st_size for file in path.parent.rglob("*")) < 5e6


def test_every_figure_comes_with_a_sentence_of_what_is_seen(path: Path) -> None:
    text = path.read_text()
    for heading in re.findall(r"<h2 id=\"[^\"]*\">(.*?)</h2>\n<p class=\"seen\">(.*?)</p>", text):
        assert re.search(r"\d", heading[1]), heading
    assert text.count('<p class="seen">') >= FIGURES
    assert "B_crit is " in text
    assert "more environments at" in text or "longer rollouts at" in text or "can&#x27;t tell at" in text


def test_the_page_begins_with_a_title_and_what_came_out(path: Path) -> None:
    text = path.read_text()
    assert (
        "<h1>CartPole-v1 under A2C: updates to score 100 and 200 over batch size and rollout length</h1>"
        in text
    )
    found = re.findall(r"<li>(.*?)</li>", text.partition("<nav")[0])
    assert 3 <= len(found) <= 5
    assert found[0].startswith("B_crit, in observations: ")
    assert re.match(
        r"B_crit, in observations: to score 200 it is .* with rollouts of 5; .* with rollouts of 20", found[0]
    )
    assert found[1].startswith("E_min, in observations: ")
    assert found[-1].startswith("Can&#x27;t be told: ")
    # Headings are short, and what is said of a table stands in a paragraph of its own.
    assert max(map(len, re.findall(r"<h2[^>]*>(.*?)</h2>", text))) < 60
    assert re.search(r'What predicts B_crit</h2><p class="seen">.*B_simple of the training gradient', text)
    for alt in re.findall(r'<img alt="([^"]*)"', text):
        assert re.search(r"\d", alt), alt
    assert "@media print" in text


def test_the_file_may_name_the_page(tmp_path: Path) -> None:
    study = played(tmp_path, text='title = "Two <axes>"\n' + TEXT, rollout="[5]")
    assert "<h1>Two &lt;axes&gt;</h1>" in report(study, bootstrap=0).read_text()


def test_the_smoothing_table_is_on_the_page_row_by_row(path: Path) -> None:
    rows = pd.read_csv(path.parent / "tables" / "smoothing.csv")
    assert set(rows["halflife"]) == {1000, 500, 250}
    table = re.search(r"E_min has its lag</h2>.*?<table.*?</table>", path.read_text(), re.DOTALL)
    assert table is not None
    names, *shown = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table[0].split("<tr")[1:]
    ]
    assert len(shown) == len(rows)
    for name in ("halflife", "e_min"):
        cells = [row[names.index(name.replace("_", " "))] for row in shown]
        for cell, value in zip(cells, rows[name], strict=True):
            if not np.isnan(value):
                shown_value = float(cell.split()[0].replace(",", "").replace("k", "e3"))
                assert shown_value == pytest.approx(value, rel=0.03)  # two digits beside an interval
    assert rows["e_min"].notna().any()
    assert "read by centred averages of as many games" in path.read_text()


def test_luck_in_the_rates_is_on_the_page_where_seeds_tried_several(path: Path, tmp_path: Path) -> None:
    assert "Luck in the best rates" not in path.read_text()
    several = played(tmp_path, rollout="[5]", text=TEXT.replace("[1e-3]", "[1e-3, 1.01e-3]"))
    text = report(several, bootstrap=50).read_text()
    assert "Luck in the best rates" in text
    assert "The best of several rates is also the luckiest. To score 200, with the rate" in text
    rows = pd.read_csv(several.results / "report" / "tables" / "held_out.csv")
    assert rows["rates"].tolist() == ["own", "others"] * 2
    assert rows["e_min"].tolist()[0] <= rows["e_min"].tolist()[1]


def test_every_runs_metrics_are_beside_the_page(study: Study, path: Path) -> None:
    every = pd.read_parquet(path.parent / "tables" / "metrics.parquet")
    for run in study.plan({}):
        own = every[every["id"] == run.id]
        metrics = study.read(run, "metrics", study.outcome(run))
        assert own["update"].tolist() == metrics["update"].tolist()
        for name in ("observations", "score", "noise_scale", "information"):
            np.testing.assert_array_equal(own[name], metrics[name].astype("float32"))


def test_a_finished_page_says_nothing_of_progress_and_judges(path: Path) -> None:
    text = path.read_text()
    assert "Not finished" not in text
    assert "How far each cell is" not in text
    assert re.search(r'What the paper claims</h2><p class="seen">\d+ pass, \d+ fail, \d+ can', text)
    claims = pd.read_csv(path.parent / "tables" / "claims.csv")
    named = pd.read_csv(path.parent / "tables" / "claims_runs.csv")
    assert set(claims.loc[claims["note"] > 0, "note"]) == set(named["note"])


def test_a_partly_finished_page_says_what_is_missing(tmp_path: Path) -> None:
    study = played(tmp_path)
    for run in study.plan():
        if run.num_envs == 2 or (run.num_envs == 8 and run.seed == 2):
            shutil.rmtree(study.folder(run))
    text = report(study, bootstrap=20).read_text()
    assert "Not finished: 6 of 10 cells have all the runs known to be needed, 2 have none." in text
    assert "How far each cell is" in text


def test_the_same_study_gives_the_same_bytes(study: Study, path: Path, tmp_path: Path) -> None:
    again = report(study, tmp_path / "report.html", bootstrap=100)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("goals = [100, 200]", "goals = [9000]", "no run met the goal: give a larger budget"),
        ("[2, 8, 32, 128, 512]", "[8]", "runs that met the goal have 1 batch size"),
        ("seeds = [1, 2]", "seeds = [1]", "B_crit is "),
        ("[2, 8, 32, 128, 512]", "[1, 4]", "runs that met the goal have 2 batch size"),
    ],
)
def test_pages_of_studies_that_say_little(tmp_path: Path, was: str, now: str, says: str) -> None:
    assert was in TEXT
    study = played(tmp_path, text=TEXT.replace(was, now), rollout="[5]")
    page = report(study, bootstrap=20).read_text()
    assert says in page
    assert page.count("<img ") >= 3
    assert ("Fronts, rollouts of 5" in page) == (
        "1 batch size" not in says
    )  # a front of one point shows nothing


def test_half_finished_study_says_so(tmp_path: Path) -> None:
    study = played(tmp_path)
    for run in study.plan()[:4]:
        shutil.rmtree(study.folder(run))
    assert "16 of 20 runs done" in report(study, bootstrap=20).read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_chromium_draws_every_figure_within_a_laptops_width(path: Path, tmp_path: Path) -> None:
    check = (
        "<script>addEventListener('load', () => { const wide = document.documentElement.scrollWidth;"
        "document.title = 'drawn ' + [...document.images].filter(i => i.complete && i.naturalWidth > 100).length"
        " + ' wide ' + wide; });</script></body>"
    )
    copy = tmp_path / "page.html"
    copy.write_text(path.read_text().replace("</body>", check))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1366,768",
        "--virtual-time-budget=5000",
    ]
    words = [str(CHROMIUM), *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", copy.as_uri()]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"<title>drawn (\d+) wide (\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) == FIGURES
    assert int(found[2]) <= 1366


def test_papers_own_fronts_are_drawn_for_its_tasks(tmp_path: Path) -> None:
    fronts = paper_of("atari:beam_rider")
    assert fronts is not None
    assert set(fronts["task"]) == {"beam_rider"}
    assert paper_of("atari:freeway") is None
    assert paper_of("gym:CartPole-v1") is None
    page = report(played(tmp_path, "atari:breakout", "[5]"), bootstrap=0).read_text()
    assert "paper&#x27;s own fronts" in page
    # one rollout length: one figure of fronts less, no two axes, no equal batch
    assert page.count("<img ") == FIGURES - 3


def test_nothing_finished(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT.format(env="gym:CartPole-v1", rollout="[5]"))
    with pytest.raises(UserError, match="no run has finished yet"):
        report(load_study(tmp_path))


def test_page_that_cant_be_written(study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        report(study, tmp_path / "file" / "page.html", bootstrap=0)
