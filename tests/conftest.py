"""One torch thread: the tests' networks are small, and two runs on two cores must not fight for threads.

No deadline for hypothesis: a busy machine or a first compilation is no failure.
"""

from collections.abc import Iterator
from pathlib import Path

import rl_gns  # sets how OpenMP's threads wait, before torch is loaded

assert rl_gns.__version__

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

HERE = Path(__file__).parent
LONGEST = [
    *(
        HERE / "rl_gns" / "training" / f"test_{name}.py"
        for name in ("resume", "truth", "noise_parts", "learning")
    ),
    *(HERE / "rl_gns" / "studies" / f"test_{name}.py" for name in ("driver", "claims", "claims_command")),
    *(
        HERE / "rl_gns" / "training" / f"test_{name}.py"
        for name in ("sharing", "ahead", "run", "correlation_probe")
    ),
    *(HERE / "envs" / f"test_{name}.py" for name in ("atari", "atari_oracle")),
    *(HERE / "envs" / "moba" / "test_env.py", HERE / "agents" / "test_compilation.py"),
    HERE / "rl_gns" / "report" / "test_study_page.py",
]
"""Files that take longest, begun first, so that no process is left alone with one at the end (`make test`)."""
assert all(path.is_file() for path in LONGEST), "a file was renamed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True, scope="session")
def _logs_of_stable_baselines3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """It makes a folder with every model, among the system's temporary files unless told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield
