"""What the benchmarks ask of their arguments."""

from __future__ import annotations

import argparse


def at_least_one(text: str) -> int:
    """For argparse: a number of rounds."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
