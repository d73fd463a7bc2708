"""Asked before a saved policy plays: do its weights fit, and can the film be written?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from rl_gns.errors import UserError


def load_weights(policy: nn.Module, state: Mapping[str, Any]) -> None:
    """The policy of a checkpoint's `state`. Raises UserError where that is of another network."""
    try:
        policy.load_state_dict(state["policy"])
    except (KeyError, RuntimeError):
        raise UserError("the checkpoint is not of this run: its network is another one") from None


def check_video(path: Path) -> None:
    """Raises UserError unless `path` ends in .mp4 or .gif and can be written; its folder is made."""
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"the video must end in .mp4 or .gif, got {path}")
    was_there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise UserError(f"the video {path} can't be written: {error.strerror}") from None
    if not was_there:
        path.unlink()
