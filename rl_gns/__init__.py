"""rl-gns: train Atari agents and measure the gradient noise scale of their policy gradient while they train.

`rl_gns.train(config) -> Run`, `rl_gns.load_run(path) -> Run`, `rl_gns.noise` for other people's loops.
Names are loaded on first use, so that `rl-gns --help` does not wait for torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_gns.studies.study import Study as Study
    from rl_gns.studies.study import load_study as load_study
    from rl_gns.training.config import TrainConfig as TrainConfig
    from rl_gns.training.run import train as train
    from rl_gns.training.saved import Run as Run
    from rl_gns.training.saved import load_run as load_run

__version__ = "0.1.0"

# Torch's idle threads should spin through the gaps of an update, and sleep while emulators run: `training.threads`
# sees to the latter. Only effective before torch is loaded, and never against the user's own setting.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")

_HOME = {
    "TrainConfig": "rl_gns.training.config",
    "Run": "rl_gns.training.saved",
    "load_run": "rl_gns.training.saved",
    "train": "rl_gns.training.run",
    "Study": "rl_gns.studies.study",
    "load_study": "rl_gns.studies.study",
}
__all__ = ["Run", "Study", "TrainConfig", "load_run", "load_study", "train"]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "noise"} - {"Any", "TYPE_CHECKING", "annotations", "importlib", "os"})


def __getattr__(name: str) -> Any:
    if name == "noise":
        return importlib.import_module("rl_gns.noise")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rl_gns' has no attribute {name!r}")
