"""The progress line: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_EVERY = 15.0  # seconds between lines where there is no terminal


def describe(
    observations: int,
    total: float,
    sps: float,
    score: float | None,
    noise: str,
    shares: Mapping[str, float],
) -> str:
    """One line for people: how far, how fast, score, noise scale, where the time goes."""
    left = max(total - observations, 0) / sps if sps > 0 else float("inf")
    clock = (
        "--:--"
        if left == float("inf")
        else f"{int(left // 3600):d}:{int(left % 3600 // 60):02d}:{int(left % 60):02d}"
    )
    time_shares = " ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)
    shown = "-" if score is None else f"{score:.1f}"
    return (
        f"{observations / total:4.0%} {observations:,} obs  {sps:,.0f} SPS  {clock} left  "
        f"score {shown}  noise scale {noise}  | {time_shares}"
    )


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it stands, brackets too; where nobody reads, be quiet from now on."""
    try:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    except (OSError, SystemExit):  # rich exits where nobody reads; what runs is worth more than a line
        console.quiet = True


class Progress:
    """Shows the newest `describe` line; a context manager."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._live: Live | None = None
        self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def show(self, line: str) -> None:
        """Replace the live line, or print it if it is time."""
        if self._live is not None:
            self._live.update(Text(line, overflow="ellipsis", no_wrap=True))
        elif not self._quiet and time.monotonic() - self._last >= PLAIN_EVERY:
            self._last = time.monotonic()
            say(self._console, line)

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError, SystemExit):  # the terminal is gone
                self._live.__exit__(None, None, None)
            self._live = None
