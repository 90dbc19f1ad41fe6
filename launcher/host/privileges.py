"""Gives up rights: a process that a guest may take over runs as a user without any, and gets none back.

It imports only the standard library: confine.py and forwarder.py run it in a bare Python.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Final

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
LIBC: Final = ctypes.CDLL(None, use_errno=True)


def drop(uid: int | None, gid: int | None, groups: Sequence[int] = ()) -> None:
    """Become a user, unless it is None, and gain no rights by any program from now on. Raises OSError."""
    if uid is not None and gid is not None:
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def hide_memory() -> None:
    """Let no process of the same user trace this one or read its memory. Raises OSError."""
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


def call(function: str, *arguments: int) -> None:
    """Call a function of the C library that returns 0, or sets errno. Raises OSError."""
    if getattr(LIBC, function)(*map(ctypes.c_ulong, arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
