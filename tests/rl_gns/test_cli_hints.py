"""What is typed as other tools have it is answered with our own name for it; names are found by tab and import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rl_gns
from rl_gns import cli
from rl_gns.errors import UserError


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train --env atari:pong", "environment comes first, without an option: rl-gns train atari:pong"),
        ("train --env=atari:pong", "environment comes first, without an option: rl-gns train atari:pong"),
        ("train atari:pong --envs 4", "unknown option --envs; did you mean --num-envs?"),
        ("train atari:pong --lr 1e-3", "unknown option --lr; did you mean --learning-rate?"),
        ("train atari:pong --steps 9", "unknown option --steps; did you mean --observations?"),
        ("train atari:pong --total_timesteps 9", "did you mean --observations?"),
        ("train atari:pong --n-steps 9", "did you mean --rollout?"),
        ("train atari:pong --num-env 9", "did you mean --num-envs?"),
        ("train atari:pong --zzz 9", "unknown option --zzz; see rl-gns train --help"),
        ("study run x --job 1", "unknown option --job; did you mean --jobs?"),
        ("study report x --smoothing", "unknown option --smoothing; see rl-gns study report --help"),
        ("noise x --out x.png", "see rl-gns noise --help"),
        ("study foo", "see rl-gns study --help"),
        ("foo", "see rl-gns --help"),
    ],
)
def test_unknown_options(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words.split())
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_every_other_name_is_of_an_option() -> None:
    known = {field for command in cli.COMMANDS.values() for field in command.__dataclass_fields__}
    assert set(cli.OTHER_NAMES.values()) <= known
    assert not set(cli.OTHER_NAMES) & set(cli.COMMANDS["train"].__dataclass_fields__)


def test_names_are_found_by_tab_and_by_import() -> None:
    assert {"train", "TrainConfig", "Run", "load_run", "load_study", "noise"} <= set(dir(rl_gns))
    code = "import rl_gns; print(rl_gns.noise.NoiseScaleMeter.__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "NoiseScaleMeter\n"


def test_train_of_a_name_says_what_it_takes() -> None:
    with pytest.raises(
        UserError, match=r"train takes a TrainConfig, as rl_gns.TrainConfig\(env='atari:pong'\)"
    ):
        rl_gns.train("atari:pong")  # type: ignore[arg-type]
