"""Waiting for a byte: nothing is lost or made up, whether it looks or sleeps."""

import socket
import threading
import time

from envs import waiting
from envs.waiting import Waiter


def test_bytes_come_in_order_after_short_and_long_waits_and_the_end_is_empty() -> None:
    ours, theirs = socket.socketpair()
    sent = bytes(range(40))

    def send() -> None:
        for i, byte in enumerate(sent):
            time.sleep(3 * waiting.PATIENCE if i % 4 == 0 else 0)
            theirs.send(bytes([byte]))
        theirs.close()

    thread = threading.Thread(target=send)
    thread.start()
    waiter = Waiter(ours.fileno())
    got = b"".join(waiter.read() for _ in sent)
    assert got == sent
    assert waiter.read() == waiter.read() == b""
    thread.join()
    ours.close()


def test_a_long_wait_is_slept_through() -> None:
    ours, theirs = socket.socketpair()
    # The usual patience is shorter than a busy machine may keep this process off its processors.
    waiter = Waiter(ours.fileno(), 0.2)
    for _ in range(3):
        theirs.send(b"x")
        assert waiter.read() == b"x"
    assert waiter._short  # what came at once is looked for
    timer = threading.Timer(1.5, theirs.send, [b"y"])
    timer.start()
    busy = time.thread_time()
    assert waiter.read() == b"y"
    assert time.thread_time() - busy < 0.75
    assert not waiter._short
    ours.close()
    theirs.close()
