"""No capability, now or ever: not even root inside keeps one.

Source: capabilities(7), linux/capability.h (version 3 headers).
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

from ._syscalls import LIBC, prctl

__all__ = ["drop_all", "no_new_privileges"]

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_AMBIENT_CLEAR_ALL: Final = 4
_VERSION_3: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def no_new_privileges() -> None:
    """No set-user-id program will ever give this process more than it has."""
    prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def drop_all() -> None:
    """Drop every capability from every set of the calling thread. Raises OSError."""
    for capability in range(64):
        try:
            prctl("PR_CAPBSET_DROP", _PR_CAPBSET_DROP, capability)
        except OSError as fault:
            # EINVAL: past the last one. EPERM: an ordinary user, whose exec gains none anyway.
            if fault.errno == errno.EINVAL:
                break
            if fault.errno != errno.EPERM:
                raise
    prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    header = _Header(_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if LIBC.capset(ctypes.byref(header), nothing) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "capset")
