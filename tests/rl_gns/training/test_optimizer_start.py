"""What a run loses to its optimizer's start is said before it is trained, where that is much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl_gns.cli import main
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.optimizer_start import hint, lost_at_start

SAYS = "of this run's 60 updates RMSProp's start takes up to 1,008"
CARTPOLE = ["gym:CartPole-v1", "--num-envs", "2", "--observations", "600", "--no-tensorboard"]


def test_it_is_told_where_it_is_a_fifth_of_the_run() -> None:
    lost = lost_at_start(TrainConfig())
    few, many = (resolve(TrainConfig(observations=80 * 5 * lost * much)) for much in (0.99, 1.01))
    assert hint(few)
    assert hint(many) == ""
    for other in ({"rmsprop": "torch"}, {"rmsprop_start": 0.0}, {"algo": "ppo"}):
        assert hint(resolve(TrainConfig(observations=4_000, **other))) == ""


@pytest.mark.parametrize(
    ("words", "told"), [([], True), (["--rmsprop", "torch"], False), (["--quiet"], False)]
)
def test_it_is_told_once_when_the_run_begins(
    words: list[str], told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    main(["train", *CARTPOLE, *words, *out])
    assert (SAYS in capsys.readouterr().err) == told
    main(["train", "--resume", "--observations", "700", *out])
    assert "RMSProp's start" not in capsys.readouterr().err
