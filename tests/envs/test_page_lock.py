"""Pages are locked once, for exactly the array, and unlocked once; a refusal changes nothing."""

import numpy as np
import pytest
import torch

import envs
from envs.page_lock import PageLock


class Runtime:
    """CUDA's runtime, as far as it is needed."""

    def __init__(self, code: int) -> None:
        self.code, self.calls = code, []

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        self.calls.append(("lock", address, size, flags))
        return self.code

    def cudaHostUnregister(self, address: int) -> int:
        self.calls.append(("unlock", address))
        return 0


@pytest.mark.parametrize("code", [0, 1])
def test_lock_and_release(code: int) -> None:
    array, runtime = np.zeros((3, 84, 84), np.uint8), Runtime(code)
    lock = PageLock(array, runtime)
    assert lock.locked is (code == 0)
    lock.release()
    lock.release()
    address = array.ctypes.data
    assert runtime.calls == [("lock", address, array.nbytes, 0), *[("unlock", address)] * (code == 0)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_frames_are_page_locked_beside_a_gpu() -> None:
    with envs.make("atari:pong", 2, "cuda", 0) as env:
        env.reset()
        assert torch.from_numpy(env._memory["frames"]).is_pinned()
