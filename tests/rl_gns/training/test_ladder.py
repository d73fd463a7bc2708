"""Games against scripts: counting, intervals, ratings, sides, fixed seeds, and `rl-gns eval` on a moba run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch

import envs
from envs.moba.opponents import OPPONENTS, Scripted
from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.training import ladder
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.run import train
from rl_gns.training.saved import load_run

SHORT = {"game_length": 20, "threads": 1}


@pytest.mark.parametrize("wins", [0, 3, 8])
def test_the_interval_is_wilsons(wins: int) -> None:
    """A share is in it when (p - share)² <= z² share (1 - share) / n; draws and losses count alike."""
    standing = ladder.standing(
        "laner", [1.0] * wins + [-0.2, 0.0] * ((8 - wins) // 2) + [-1.0] * ((8 - wins) % 2)
    )
    for limit in standing.interval:
        assert (wins / 8 - limit) ** 2 == pytest.approx(1.959964**2 * limit * (1 - limit) / 8, abs=1e-6)
    assert standing.interval[0] < wins / 8 + 1e-9
    assert standing.interval[1] > wins / 8 - 1e-9


def test_counts() -> None:
    found = ladder.standing("idle", [1.0, 0.25, 0.0, -0.5])
    assert (found.wins, found.draws, found.losses, found.score) == (2, 1, 1, 0.1875)


def test_ratings_rank_who_beats_whom_and_grow_surer() -> None:
    results = {("a", "b"): [1.0] * 20, ("b", "c"): [1.0, 1.0, -1.0] * 7, ("a", "c"): [0.3] * 20}
    found = ladder.ratings(results)
    assert found["a"].mean > found["b"].mean > found["c"].mean
    few = ladder.ratings({pair: scores[:3] for pair, scores in results.items()})
    assert all(found[name].deviation < few[name].deviation < 25 / 3 for name in "abc")
    draws = ladder.ratings({("a", "b"): [0.0] * 20})
    assert draws["a"].mean == pytest.approx(draws["b"].mean)


def test_equal_players_score_against_each_other_as_their_sides_do() -> None:
    """Player and opponent alike: every game's score changes sign when the two change places."""
    options = {"game_length": 120, "threads": 1}
    with envs.make("moba:2v2", 6, "cpu", 3, **options) as env:
        script = Scripted("bully", env.layout)  # type: ignore[attr-defined]
        scores = ladder.play(env, script, script, seed=3)
        again = ladder.play(env, script, script, seed=3)
    # The same games but the first; who had team 0 has team 1.
    with envs.make("moba:2v2", 5, "cpu", 3, first_world=1, **options) as env:
        swapped = ladder.play(env, script, script, seed=3)
    assert len(scores) == 6
    assert scores == again
    assert all(scores[1:])
    assert swapped == [-score for score in scores[1:]]


def test_a_script_that_walks_beats_one_that_stands() -> None:
    with envs.make("moba:1v1", 4, "cpu", 0, game_length=180, threads=1) as env:
        layout = env.layout  # type: ignore[attr-defined]
        laner, idle = Scripted("laner", layout), Scripted("idle", layout)
        assert min(ladder.play(env, laner, idle)) > 0  # on either side
        assert max(ladder.play(env, idle, laner)) < 0


def test_each_player_sees_and_moves_its_own_streams() -> None:
    seen: list[torch.Tensor] = []

    def note(obs: torch.Tensor) -> torch.Tensor:
        seen.append(obs.clone())
        return torch.zeros(len(obs), 3, dtype=torch.int64)

    with envs.make("moba:2v2", 3, "cpu", 1, **SHORT) as env:
        start = env.reset(1).view(3, 2, 2, -1)
        ladder.play(env, note, lambda obs: torch.zeros(len(obs), 3, dtype=torch.int64), seed=1)
    first = seen[0].view(3, 2, -1)
    for world in range(3):
        assert torch.equal(first[world], start[world, world % 2])


def test_a_film_ends_with_how_the_game_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[np.ndarray] = []

    class Writer:
        append_data, close = pictures.append, staticmethod(lambda: None)

    monkeypatch.setattr(ladder.imageio, "get_writer", lambda *_, **__: Writer)
    with envs.make("moba:1v1", 2, "cpu", 1, **SHORT) as env:
        start, layout = env.render(0), env.layout  # type: ignore[attr-defined]
        ladder.play(env, Scripted("laner", layout), Scripted("idle", layout), seed=1, video=Path("game.mp4"))
        assert not env.shows_ends
    with envs.make("moba:1v1", 2, "cpu", 1, game_length=30, threads=1) as env:
        laner, idle = Scripted("laner", layout), Scripted("idle", layout)
        for _ in range(150):  # 20 seconds
            one, two, three, four = env.observation()[:, None]
            env.step(torch.cat([laner(one), idle(two), idle(three), laner(four)]))
        end = env.render(0)
    assert len(pictures) == 75 + 30  # every other decision, and a second more
    assert np.array_equal(pictures[0], start)
    assert all(np.array_equal(picture, end) for picture in pictures[75:])
    assert not np.array_equal(pictures[74], end)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moba") / "run"
    arguments = ["--num-envs", "8", "--rollout", "8", "--observations", "2000", "--no-tensorboard", "--quiet"]
    arguments += ["--ladder-every", "700", "--ladder-games", "4", "--log-every", "200"]
    options = ["--threads", "1", "--env-options", "game_length", "20", "threads", "1"]
    main(["train", "moba:1v1", "--algo", "ppo", *arguments, *options, "--out", str(out)])
    return out


def test_eval_prints_a_row_for_each_script_and_a_rating(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "game.gif"
    capsys.readouterr()
    main(["eval", str(run), "--episodes", "4", "--video", str(film)])
    first = capsys.readouterr().out
    for name in OPPONENTS:
        assert re.search(rf"{name} +4 .*%.* to .*%", first)
    assert re.search(r"rating: .*policy -?\d+\.\d ± \d", first)
    pictures = imageio.mimread(film)
    assert len(pictures) > 10
    assert pictures[0].shape[0] > 100
    main(["eval", str(run), "--episodes", "4"])
    again = capsys.readouterr().out
    assert again == first.replace(f"video: {film}\n", "")  # fixed seeds
    main(["eval", str(run), "--episodes", "4", "--against", "idle"])
    only = capsys.readouterr().out
    assert "laner" not in only
    assert next(line for line in first.splitlines() if " idle " in line) in only


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "lanner"], "there is no script 'lanner'"),
        (["--episodes", "0"], "games must be at least 1"),
        (["--video", "game.avi"], ".mp4 or .gif"),
    ],
)
def test_bad_input_gets_one_line(
    run: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["eval", str(run), *arguments])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_no_opponents() -> None:
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo"))
    with pytest.raises(UserError, match="choose from"):
        ladder.climb(torch.nn.Linear(1, 1), config, 1, opponents=())


def test_a_run_climbs_along_the_way_and_is_not_changed_by_it(run: Path, tmp_path: Path) -> None:
    table = load_run(run).ladder()
    assert sorted(set(table["observations"])) == [784, 1456]  # an update has 14 x 8
    assert list(table["opponent"]) == [*OPPONENTS] * 2
    assert (table["games"] == 4).all()
    assert table["rating"].notna().all()
    config = dataclasses.replace(load_run(run).config, ladder_every=0)
    without = train(config, tmp_path / "without", quiet=True)
    ours, theirs = load_run(run).checkpoint()["policy"], without.checkpoint()["policy"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert without.ladder().empty
