"""How a contender is told to train for a while: one line in, one line out, over its standard input and output.

    parent -> contender   "go\\n"          train for one turn
    contender -> parent   {"observations": 1024}    done; it now waits and uses no processor

Standard library only: it runs in every peer's own virtual environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def open_channel() -> TextIO:
    """The line to the parent; whatever libraries print goes to standard error from now on."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return channel


def say(channel: TextIO, **facts: Any) -> None:
    """One line."""
    channel.write(json.dumps(facts) + "\n")
    channel.flush()


def wait() -> bool:
    """Whether there is another turn; returns when it begins."""
    return sys.stdin.readline().strip() == "go"


def serve(channel: TextIO, turn: Callable[[], int | dict[str, float]], **facts: Any) -> None:
    """Greet with `facts`, then a turn for every "go" until the parent hangs up.

    `turn` returns its observations, or them under that name with whatever else there is to say.
    """
    say(channel, **facts)
    while wait():
        found = turn()
        say(channel, **(found if isinstance(found, dict) else {"observations": found}))
