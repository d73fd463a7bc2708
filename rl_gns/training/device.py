"""The device a run computes on."""

from __future__ import annotations

import torch

from rl_gns.errors import UserError


def pick_device(name: str) -> torch.device:
    """ "auto" or a torch device name -> a device that works.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(
                device
            )  # graphs are captured, and kernels of moba start, on the current one
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} can't be used here: {str(error).splitlines()[0]}") from None
    return device
