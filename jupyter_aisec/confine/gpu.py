"""Whether a GPU starts inside, found out in a process of its own.

``cuInit`` in the kernel itself would break the processes it forks later, so a child asks.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["fault", "present"]


def present() -> bool:
    """Whether this machine has an NVIDIA GPU's control device."""
    return os.path.exists("/dev/nvidiactl")


def fault() -> int:
    """What ``cuInit`` answers: 0 if the GPU starts, or there is none, or no driver library."""
    if not present():
        return 0
    child = os.fork()
    if child == 0:
        try:
            answer = int(ctypes.CDLL("libcuda.so.1").cuInit(0))
        except OSError:
            answer = 0
        # CUDA's codes go to 999, an exit status to 255; 304 is the one people meet.
        os._exit(min(answer, 255))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
