"""One lock file a folder: who holds it may write there. A lock ends with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import IO, Any

from rl_gns.errors import UserError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has none."""


def take(file: IO[Any], folder: Path, *, shared: bool = False) -> bool:
    """Lock an open file of `folder` without waiting. Returns whether; False where somebody else holds it.

    Raises:
        UserError: the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise UserError(
            f"{folder} can't be locked ({error.strerror}): put it on a file system with locks, on a network one "
            "often a mount option (flock)"
        ) from None
    return True
