"""What the benchmarks refuse, in one line and before anything is measured."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("noise_cost", ["--sizes", "foo"], "must be as 5x16, rollout x environments, got 'foo'"),
        ("noise_cost", ["--sizes", "5x0"], "must be as 5x16"),
        ("limits", ["--device", "cuda:99"], "device 'cuda:99' can't be used here"),
        ("limits", ["--rounds", "0"], "must be at least 1"),
        ("moba_speed", ["--device", "tpu"], "device 'tpu' can't be used here"),
        ("scale", ["--cores", "1000"], "cores, not 1000"),
        ("train_speed", ["--rounds", "-1"], "must be at least 1"),
    ],
)
def test_one_line(
    script: str,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module(script)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
    with pytest.raises(SystemExit):
        module.main()
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_size_is_rollout_by_environments_and_cores_are_those_here() -> None:
    from arguments import at_least_one, cores_here, rollout_by_environments

    assert rollout_by_environments("5x16") == (5, 16)
    assert at_least_one("1") == cores_here("1") == 1
