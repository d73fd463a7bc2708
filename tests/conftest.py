"""One torch thread: the tests' networks are small, and two runs on two cores must not fight for threads.

No deadline for hypothesis: a busy machine or a first compilation is no failure.
"""

from collections.abc import Iterator

import rl_gns  # sets how OpenMP's threads wait, before torch is loaded

assert rl_gns.__version__

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

LONGEST = (
    *(
        "test_resume.py",
        "test_atari.py",
        "test_driver.py",
        "test_claims.py",
        "test_truth.py",
        "test_study_page.py",
    ),
    *(
        "test_env.py",
        "test_compilation.py",
        "test_claims_command.py",
        "test_noise_parts.py",
        "test_learning.py",
    ),
    *("test_sharing.py", "test_ahead.py", "test_atari_oracle.py", "test_run.py", "test_correlation_probe.py"),
)
"""Files that take longest, begun first, so that no process is left alone with one at the end (`make test`)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True, scope="session")
def _logs_of_stable_baselines3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """It makes a folder with every model, among the system's temporary files unless told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield
