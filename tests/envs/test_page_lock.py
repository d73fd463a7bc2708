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


def test_a_refusal_is_not_told_to_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA tells an error to whoever starts a kernel next, once."""
    pending, zeros = [RuntimeError("CUDA error: resource already mapped")], torch.zeros

    def kernel(*size: int, **settings: str) -> torch.Tensor:
        if pending:
            raise pending.pop()
        return zeros(*size)

    monkeypatch.setattr(torch, "zeros", kernel)
    assert not PageLock(np.zeros(4, np.uint8), Runtime(1)).locked
    assert torch.zeros(1, device="cuda") == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_goes_on_after_a_refusal() -> None:
    array = np.zeros(2**16, np.uint8)
    first, second = PageLock(array), PageLock(array)  # the same pages twice: refused
    assert (first.locked, second.locked) == (True, False)
    assert torch.ones(1, device="cuda") == 1
    first.release()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_frames_are_page_locked_beside_a_gpu() -> None:
    with envs.make("atari:pong", 2, "cuda", 0) as env:
        env.reset()
        assert torch.from_numpy(env._memory["frames"]).is_pinned()
