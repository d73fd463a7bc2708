"""A run killed with SIGKILL at random moments and resumed equals an uninterrupted one, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rl_gns.training import checkpoint
from rl_gns.training.metrics import TABLES, read_table
from rl_gns.training.saved import load_run

MOBA = ["--log-every", "1000", "--checkpoint-every", "1500", "--snapshot-every", "2000"]
SHORT_GAMES = ["--noise-budget", "0.2", "--env-options", "game_length", "20", "threads", "1"]
OVERLAP = ["--overlap", "act", "--env-options", "workers", "2"]
COMMON = ["--threads", "1", "--no-tensorboard", "--quiet"]
PONG = ["--num-envs", "4", "--log-every", "200", "--checkpoint-every", "400", "--start-spread", "5"]
CASES = {
    "pong a2c": ["atari:pong", "--algo", "a2c", "--observations", "5000", *PONG],
    "pong ppo": ["atari:pong", "--algo", "ppo", "--rollout", "32", "--observations", "4000", *PONG],
    "breakout a2c sticky": ["atari:breakout", "--protocol", "machado", "--observations", "3000", *PONG],
    "pong a2c overlap": ["atari:pong", "--algo", "a2c", "--observations", "3000", *PONG, *OVERLAP],
    "pong ppo overlap": [
        *["atari:pong", "--algo", "ppo", "--rollout", "32", "--observations", "3000", *PONG, *OVERLAP],
    ],
    "pong ppo ahead": [
        *["atari:pong", "--algo", "ppo", "--rollout", "32", "--observations", "3000", "--overlap", "learn"],
        *[*PONG, "--env-options", "workers", "2"],
    ],
    "cartpole ppo ahead": [
        *["gym:CartPole-v1", "--algo", "ppo", "--observations", "20000", "--overlap", "learn"],
        *["--log-every", "2000", "--checkpoint-every", "3000", "--noise-budget", "0.2"],
    ],
    "sticky ppo": [
        *["atari:breakout", "--protocol", "machado", "--algo", "ppo", "--rollout", "16", "--epochs", "2"],
        *["--observations", "2000", *PONG],
    ],
    "cartpole ppo": [
        *["gym:CartPole-v1", "--algo", "ppo", "--observations", "30000", "--schedule", "linear"],
        *["--log-every", "2000", "--checkpoint-every", "3000", "--noise-budget", "0.2"],
    ],
    "moba ppo": [
        *["moba:2v2", "--algo", "ppo", "--num-envs", "12", "--rollout", "8", "--observations", "16000"],
        *["--past-selves", "3", *MOBA, *SHORT_GAMES],
    ],
    "moba ppo remembering": [
        *["moba:1v1", "--algo", "ppo", "--num-envs", "8", "--rollout", "16", "--observations", "12000"],
        *["--network", "entities-lstm", "--sequence", "8", *MOBA, *SHORT_GAMES],
    ],
    "cartpole a2c": [
        *["gym:CartPole-v1", "--algo", "a2c", "--observations", "40000", "--log-every", "500"],
        *["--checkpoint-every", "2000"],
    ],
}


def command(arguments: list[str], out: Path) -> list[str]:
    program = "from rl_gns.cli import main; main()"
    return [sys.executable, "-c", program, "train", *arguments, *COMMON, "--out", str(out)]


def newest(out: Path) -> str:
    return max((path.name for path in (out / "checkpoints").glob("*.ckpt")), default="")


def run_with_kills(arguments: list[str], out: Path, kills: int, seed: int) -> int:
    """Start, kill, resume … Returns how many kills hit a living process."""
    rng = random.Random(seed)
    hits = 0
    for i in range(kills):
        process = subprocess.Popen(command([*arguments, *(["--resume"] if i else [])], out))
        before, deadline = newest(out), time.monotonic() + 60
        # Some kills before any new checkpoint, most at a random moment after one.
        wanted = "" if rng.random() < 0.2 and before else before
        while process.poll() is None and newest(out) <= wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
    subprocess.run(command([*arguments, "--resume"], out), check=True)
    return hits


def assert_same_run(a: Path, b: Path) -> None:
    for table in TABLES:
        if table != "timing":
            pd.testing.assert_frame_equal(
                read_table(a / "metrics.db", table), read_table(b / "metrics.db", table)
            )
    state, other = (checkpoint.newest(path / "checkpoints")[1] for path in (a, b))
    assert len(load_run(a).metrics()) >= 5
    # The pickle of a Gymnasium task may order shared objects differently; what it does is compared by its rows.
    for name in state:
        if name != "env" or "envs" not in state["env"]:
            assert checkpoint.equal(state[name], other[name]), name


@pytest.fixture(scope="module")
def whole_pong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pong") / "whole"
    subprocess.run(command(CASES["pong a2c"], out), check=True)
    return out


def test_two_kills_of_a_pong_run(whole_pong: Path, tmp_path: Path) -> None:
    hits = run_with_kills(CASES["pong a2c"], tmp_path / "killed", kills=2, seed=2)
    assert hits >= 1
    assert_same_run(whole_pong, tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["pong a2c", "pong ppo", "breakout a2c sticky", "pong ppo overlap"])
def test_five_kills(case: str, tmp_path: Path) -> None:
    subprocess.run(command(CASES[case], tmp_path / "whole"), check=True)
    hits = run_with_kills(CASES[case], tmp_path / "killed", kills=6, seed=1)
    assert hits >= 5
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    "case",
    [
        "cartpole ppo ahead",
        *(
            pytest.param(k, marks=pytest.mark.slow)
            for k in (
                *("sticky ppo", "cartpole ppo", "moba ppo", "moba ppo remembering", "cartpole a2c"),
                *("pong a2c overlap", "pong ppo ahead"),
            )
        ),
    ],
)
def test_two_kills(case: str, tmp_path: Path) -> None:
    subprocess.run(command(CASES[case], tmp_path / "whole"), check=True)
    hits = run_with_kills(CASES[case], tmp_path / "killed", kills=2, seed=2)
    assert hits >= 1
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_ctrl_c_checkpoints_and_says_how_to_go_on(whole_pong: Path, tmp_path: Path) -> None:
    arguments = [a for a in command(CASES["pong a2c"], tmp_path / "stopped") if a != "--quiet"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not newest(tmp_path / "stopped"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"rl-gns train --resume --out {tmp_path / 'stopped'}" in printed.replace("\n", " ")
    program = "from rl_gns.cli import main; main()"
    resumed = [
        sys.executable,
        "-c",
        program,
        "train",
        "--resume",
        "--out",
        str(tmp_path / "stopped"),
        "--quiet",
    ]
    subprocess.run(resumed, check=True)
    assert_same_run(whole_pong, tmp_path / "stopped")


CLOSING = """
import os, signal
from rl_gns.training import run
from rl_gns.training.loop import Trainer

save, close = run._save, Trainer.close

def signalled(work):
    def do(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return work(*arguments)
    return do

run._save, Trainer.close = signalled(save), signalled(close)
import atexit
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
from rl_gns.cli import main
main()
"""


def test_sigterm_while_a_run_closes_does_not_make_it_fail(tmp_path: Path) -> None:
    arguments = ["gym:CartPole-v1", "--observations", "200", "--checkpoint-every", "1e6", *COMMON]
    process = subprocess.run(
        [sys.executable, "-c", CLOSING, "train", *arguments, "--out", str(tmp_path / "run")]
    )
    assert process.returncode == 0
    assert newest(tmp_path / "run")
