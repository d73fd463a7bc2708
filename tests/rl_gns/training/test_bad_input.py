"""Bad input: one line, exit code 2 for the user's mistake and 1 for ours, nothing already written lost."""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch

import agents.a2c
from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.training import checkpoint
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.idle import refuse_idle
from rl_gns.training.saved import load_run

QUICK = [
    "--observations",
    "600",
    "--log-every",
    "100",
    "--checkpoint-every",
    "200",
    "--no-tensorboard",
    "--quiet",
]
CARTPOLE = ["gym:CartPole-v1", "--num-envs", "4", *QUICK]


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    return int(stopped.value.code or 0), line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    main(["train", *CARTPOLE, "--out", str(out)])
    return out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["atari:pogn"], "did you mean pong"),
        (["gym:CartPol-v1"], "did you mean CartPole-v1"),
        (["atari:pong", "--rollout", "0"], "rollout must be a whole number of at least 1, got 0"),
        (["atari:pong", "--num-envs", "0"], "num_envs"),
        (
            ["atari:pong", "--noise-groups", "5"],
            "must be at least 2 and divide num_envs=16, got 5; choose from 2, 4, 8, 16",
        ),
        (["atari:pong", "--noise-groups", "1"], "at least 2"),
        (["atari:pong", "--algo", "ppo", "--minibatches", "3"], "minibatches=3 does not divide"),
        (["atari:pong", "--learning-rate", "nan"], "learning_rate must be a positive number"),
        (["atari:pong", "--gamma", "1.5"], "gamma must lie between 0 and 1"),
        (["atari:pong", "--noise-budget", "2"], "noise_budget"),
        (
            ["atari:pong", "--noise-halflife", "inf"],
            "noise_halflife must be a positive number of observations",
        ),
        (["atari:pong", "--device", "cuda:7"], "device 'cuda:7' can't be used here"),
        (["atari:pong", "--device", "gpu"], "device 'gpu' can't be used here"),
        (["atari:pong", "--network", "resnet"], "unknown network 'resnet'"),
        (["gym:CartPole-v1", "--precision", "bf16"], "precision bf16 is for the networks nature and impala"),
        (["gym:CartPole-v1", "--network", "nature"], "wants pictures"),
        (["atari:pong", "--clip", "0.2"], "clip=0.2 is for ppo, a2c does nothing with it: leave it out"),
        (["atari:pong", "--epochs", "2"], "epochs=2 is for ppo"),
        (["atari:pong", "--no-normalize-advantage"], "normalize_advantage=False is for ppo"),
        (["atari:pong", "--algo", "ppo", "--rmsprop", "torch"], "rmsprop=torch is for a2c, ppo does nothing"),
        (["atari:pong", "--algo", "ppo", "--rmsprop-start", "0"], "rmsprop_start=0.0 is for a2c"),
        (["atari:pong", "--past-share", "0.5"], "past_share=0.5 is for moba, atari:pong does nothing"),
        (["atari:pong", "--graph-update"], "graph_update is for ppo"),
        (["atari:pong", "--algo", "ppo", "--graph-update"], "graph_update is for a GPU"),
        (["gym:CartPole-v1", "--protocol", "machado"], "protocol"),
        (["atari:pong", "--env-options", "stikcy", "0.1"], "no option 'stikcy'"),
        (["atari:pong", "--rolout", "5"], "--rollout"),
        (["atari:pong", "--rollout", "five"], "five"),
        (["atari:pong", "--seed", "-1"], "seed must not be negative, got -1"),
        (["atari:pong", "--rmsprop-decay", "1"], "rmsprop_decay must be at least 0 and below 1, got 1"),
        (["atari:pong", "--rmsprop-start", "-1"], "rmsprop_start must not be negative, got -1"),
        (
            ["atari:pong", "--rmsprop", "torch", "--rmsprop-start", "0.5"],
            "rmsprop_start is for --rmsprop tensorflow",
        ),
        (
            ["atari:pong", "--env-options", "full_action_set", "no"],
            "full_action_set must be true or false, got 'no'",
        ),
        (["atari:pong", "--env-options", "noop_max", "abc"], "noop_max must be a whole number, got 'abc'"),
        (["atari:pong", "--env-options", "max_frames", "inf"], "max_frames must be a whole number, got inf"),
        (["atari:pong", "--env-options", "sticky", "x"], "sticky must be a number, got 'x'"),
        (["atari:pong", "--env-options", "workers", "abc"], "workers must be a whole number, got 'abc'"),
        (["atari:pong", "--env-options", "own_share", "x"], "own_share must be a number, got 'x'"),
        (["moba:1v1", "--algo", "ppo", "--env-options", "game_length", "nan"], "game_length must be"),
        (["moba:1v1", "--algo", "ppo", "--env-options", "game_length", "inf"], "game_length must be"),
        (["moba:1v1", "--algo", "ppo", "--past-share", "0", "--sparring", "laner"], "needs self-play"),
        (["moba:1v1", "--algo", "ppo", "--opponents", "idle", "--sparring", "laner"], "needs self-play"),
        (
            ["moba:1v1", "--algo", "ppo", "--opponents", "self", "--env-options", "opponent", "laner"],
            "the other side is given twice",
        ),
        (["gym:nosuch:Foo-v0"], "gym:nosuch:Foo-v0 can't be made"),
        ([], "what to train on"),
        (["--resume"], "--out"),
    ],
)
def test_train(arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [] if arguments == ["--resume"] else ["--out", str(tmp_path / "run")]
    code, line = failure(["train", *arguments, *out], capsys)
    assert code == 2
    assert words in line


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure(["trian", "atari:pong"], capsys)
    assert code == 2
    assert "trian" in line


def test_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for arguments in (["train", "--resume", "--out"], ["eval"], ["noise"]):
        code, line = failure([*arguments, str(tmp_path)], capsys)
        assert code == 2
        assert "is no run" in line
    code, line = failure(["train", *CARTPOLE, "--out", str(tmp_path)], capsys)
    assert code == 2
    assert "already exists" in line
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_other_settings_than_the_runs_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure(["train", "--resume", "--out", str(finished), "--num-envs", "8"], capsys)
    assert code == 2
    assert "num_envs=4, not 8" in line


def test_settings_that_are_the_default_count_too_when_they_are_typed(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, words in (
        (["--num-envs", "16"], "num_envs=4, not 16"),
        (["--algo", "ppo"], "algo=a2c, not ppo"),
        (["atari:breakout"], "env=gym:CartPole-v1, not atari:breakout"),
        (["--no-compile", "--schedule=linear"], "schedule=constant, not linear"),
    ):
        code, line = failure(["train", *typed, "--resume", "--out", str(finished)], capsys)
        assert (code, words in line) == (2, True), line
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    default = TrainConfig().checkpoint_every
    main(["train", "--resume", "--out", str(out), "--checkpoint_every", f"{default:.0f}", "--quiet"])
    assert load_run(out).config.checkpoint_every == default


def test_an_out_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("mine")
    code, line = failure(["train", *CARTPOLE, "--out", str(tmp_path / "run")], capsys)
    assert (code, line) == (2, f"rl-gns: {tmp_path / 'run'} is a file: choose another --out")


def test_a_setting_given_as_an_option_of_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--num-envs", "2", "--observations", "20", "--no-tensorboard", "--quiet"]
    option = ["--env-options", "start_spread", "7", "protocol", "machado"]
    main(["train", "atari:pong", *few, "--out", str(tmp_path / "run"), *option])
    config = load_run(tmp_path / "run").config
    assert (config.start_spread, config.protocol, config.env_options) == (7, "machado", {})
    resume = ["train", "--resume", "--out", str(tmp_path / "run"), "--quiet"]
    main([*resume, *option])
    code, line = failure([*resume, "--env-options", "start_spread", "8"], capsys)
    assert (code, "was trained with start_spread=7, not 8" in line) == (2, True)
    code, line = failure(["train", "atari:pong", *few, "--start-spread", "8", *option], capsys)
    assert (code, "start_spread is given twice, as 8 and in env_options as 7" in line) == (2, True)
    code, line = failure(["train", "atari:pong", *few, "--env-options", "protocol", "paper"], capsys)
    assert (code, "protocol must be one of" in line) == (2, True)


def test_a_run_begun_when_the_option_overrode_the_setting(tmp_path: Path) -> None:
    from rl_gns.training import config as configs

    wanted = configs.resolve(configs.TrainConfig(env="moba:1v1", algo="ppo", env_options={"start_spread": 3}))
    assert wanted.environment_options()["start_spread"] == wanted.start_spread == 3
    text = '[train]\nenv = "moba:1v1"\nalgo = "ppo"\nstart_spread = 4500\n[train.env_options]\nstart_spread = 3\n'
    (tmp_path / "config.toml").write_text(text)
    assert configs.load(tmp_path / "config.toml").environment_options()["start_spread"] == 3


def test_true_and_false_are_read_as_a_shell_writes_them(tmp_path: Path) -> None:
    switches = ["full_action_set", "false", "clip_reward", "False", "fire_on_reset", "TRUE"]
    few = ["--num-envs", "2", "--observations", "20", "--no-tensorboard", "--quiet"]
    main(["train", "atari:pong", *few, "--out", str(tmp_path / "run"), "--env-options", *switches])
    options = load_run(tmp_path / "run").config.env_options
    assert options == {"full_action_set": False, "clip_reward": False, "fire_on_reset": True}
    main(["train", "--resume", "--out", str(tmp_path / "run"), "--quiet", "--env-options", *switches])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "-1"], "seed must not be negative"),
        (["--device", "gpu"], "device 'gpu' can't be used here"),
        (["--video", "film.avi"], "must end in .mp4 or .gif"),
        (["--video", "/proc/film.mp4"], "the video /proc/film.mp4 can't be written"),
        (["--episodes", "0"], "episodes must be at least 1"),
    ],
)
def test_eval_before_it_plays(
    finished: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failure(["eval", str(finished), *arguments], capsys)
    assert (code, words in line) == (2, True), line


def test_a_checkpoint_of_another_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "gym:Acrobot-v1", "--num-envs", "4", *QUICK, "--out", str(tmp_path / "other")])
    other = sorted((tmp_path / "other" / "checkpoints").glob("*.ckpt"))[-1]
    said = (2, "rl-gns: the checkpoint is not of this run: its network is another one")
    assert failure(["eval", str(finished), "--checkpoint", str(other)], capsys) == said
    shutil.copytree(finished, tmp_path / "run")
    shutil.copy(other, tmp_path / "run" / "checkpoints" / "000000000700.ckpt")
    assert failure(["train", "--resume", "--out", str(tmp_path / "run")], capsys) == said


def test_a_run_can_be_made_longer(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "longer"
    shutil.copytree(finished, out)
    before = load_run(out).metrics()
    main(["train", "--resume", "--out", str(out), "--observations", "1200"])
    after = load_run(out).metrics()
    assert after["observations"].max() == 1200
    assert after.iloc[: len(before)].equals(before)


def test_a_truncated_checkpoint_goes_back_to_the_one_before(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    last = sorted((out / "checkpoints").glob("*.ckpt"))[-1]
    last.write_bytes(last.read_bytes()[:1000])
    arguments = ["train", "--resume", "--out", str(out)]
    main([*arguments])
    said = " ".join(capsys.readouterr().err.split())
    assert f"{last} is" in said
    assert "going back to the one before" in said
    assert (
        load_run(out)
        .metrics()
        .drop(columns=["seconds", "sps", "emulate", "act", "learn", "measure"])
        .equals(
            load_run(finished)
            .metrics()
            .drop(columns=["seconds", "sps", "emulate", "act", "learn", "measure"])
        )
    )
    for path in (out / "checkpoints").glob("*.ckpt"):
        path.write_bytes(b"")
    code, line = failure(arguments, capsys)
    assert code == 2
    assert "no complete checkpoint" in line


def test_checkpoints_of_another_version_are_refused_in_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "older"
    shutil.copytree(finished, out)
    for path in (out / "checkpoints").glob("*.ckpt"):
        path.write_bytes(path.read_bytes().replace(b"rl-gns 2\n", b"rl-gns 1\n", 1))
    code, line = failure(["train", "--resume", "--out", str(out)], capsys)
    assert code == 2
    assert "another version of rl-gns" in line
    assert "--out" in line


def test_a_meter_of_another_version_is_refused_in_one_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half-lives were others once, and a meter goes on only with its own."""
    out = tmp_path / "older"
    shutil.copytree(finished, out)
    monkeypatch.setattr(TrainConfig, "halflife", property(lambda self: 123_456_789.0))
    code, line = failure(["train", "--resume", "--observations", "900", "--out", str(out)], capsys)
    assert code == 2
    assert "can't be gone on with: the saved meter has halflife" in line


def test_a_nan_loss_stops_with_the_last_good_checkpoint_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest, calls = agents.a2c.loss, []

    def poisoned(policy, batch):
        calls.append(1)
        parts = honest(policy, batch)
        return parts._replace(value=parts.value * float("nan")) if len(calls) == 20 else parts

    monkeypatch.setattr(agents.a2c, "loss", poisoned)
    code, line = failure(["train", *CARTPOLE, "--out", str(tmp_path / "run")], capsys)
    assert code == 1
    assert "no longer finite" in line
    assert "update 20" in line
    kept = sorted((tmp_path / "run" / "checkpoints").glob("*.ckpt"))[-1]
    assert str(kept) in line
    assert all(torch.isfinite(t).all() for t in checkpoint.read(kept)["policy"].values())
    monkeypatch.undo()
    main(["train", "--resume", "--out", str(tmp_path / "run")])
    assert load_run(tmp_path / "run").metrics()["observations"].max() == 600


def test_two_trainers_of_one_run_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (finished / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, line = failure(["train", "--resume", "--out", str(finished)], capsys)
    assert code == 2
    assert "another process is training" in line


def test_eval_of_a_kept_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--algo", "ppo", "--rollout", "8", "--observations", "600", "--learning-rate", "0.1"]
    settings += ["--checkpoint-every", "200", "--keep-every", "200", "--no-tensorboard"]
    main(["train", "gym:CartPole-v1", *settings, "--quiet", "--out", str(tmp_path / "run")])
    kept = sorted((tmp_path / "run" / "kept").iterdir())
    assert [int(file.stem) for file in kept] == [256, 448, 640]
    said = []
    for options in ([], *(["--checkpoint", str(file)] for file in kept)):
        capsys.readouterr()
        main(["eval", str(tmp_path / "run"), "--episodes", "4", *options])
        said.append(capsys.readouterr().out)
    assert said[0] == said[-1] != said[1]


def test_a_run_of_another_version(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "old"
    shutil.copytree(finished, out)
    config = (out / "config.toml").read_text()
    (out / "config.toml").write_text(config.replace("num_envs", "num_evns"))
    code, line = failure(["noise", str(out)], capsys)
    assert code == 2
    assert "unknown setting 'num_evns'; did you mean 'num_envs'" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--episodes", "0"], "episodes"),
        (["--video", "game.avi"], ".mp4 or .gif"),
        (["--checkpoint", "kept/no.ckpt"], "kept/no.ckpt can't be used"),
    ],
)
def test_eval(finished: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure(["eval", str(finished), *arguments], capsys)
    assert code == 2
    assert words in line


@pytest.mark.parametrize("env", ["gym:CartPole-v1", "moba:1v1"])
@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_what_defaults_fill_in_is_nobodys_idle_setting(env: str, algo: Literal["a2c", "ppo"]) -> None:
    """A resolved configuration names the other algorithm's settings, too, and is taken as it is."""
    config = TrainConfig(env, algo=algo, seed=3)
    refuse_idle(config)
    refuse_idle(resolve(config))
    with pytest.raises(UserError, match="does nothing"):
        refuse_idle(
            dataclasses.replace(resolve(config), **{"a2c": {"epochs": 9}, "ppo": {"rmsprop_eps": 1e-3}}[algo])
        )


def test_an_older_run_with_an_idle_setting_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(["train", *CARTPOLE, "--out", str(out)])
    settings = out / "config.toml"
    text = settings.read_text()
    assert text.count("epochs = 4") == 1
    settings.write_text(text.replace("epochs = 4", "epochs = 9"))
    assert load_run(out).config.epochs == 9
    main(["train", "--resume", "--out", str(out), "--observations", "800", "--quiet"])
    assert load_run(out).metrics()["observations"].iloc[-1] == 800
