"""Errors whose message is one line that says what, where and what to do."""

from __future__ import annotations


class UserError(ValueError):
    """The user's mistake: the command line prints the message and exits with 2."""


class RunStopped(RuntimeError):
    """A run could not go on; what it had written stays. The command line prints the message and exits with 1."""
