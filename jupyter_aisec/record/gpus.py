"""The machine's NVIDIA GPUs, asked of NVML: without CUDA, so that nothing is initialised.

``torch.cuda`` is never touched: initialising CUDA first breaks a later ``fork``
(``accelerate.notebook_launcher``).
"""

from __future__ import annotations

import os

import msgspec

__all__ = ["Gpu", "gpus"]


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    uuid: str  # "GPU-…": the same in every process and container
    name: str
    memory: int  # bytes
    driver: str
    used: bool
    """Whether NVML lists this process on it. Best effort: in a container or a PID namespace
    NVML speaks of other process ids, so False proves nothing."""


def gpus() -> tuple[Gpu, ...]:
    """The GPUs NVML shows this process; none where there is no driver or no binding."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return tuple(
            _gpu(pynvml.nvmlDeviceGetHandleByIndex(index), driver)
            for index in range(pynvml.nvmlDeviceGetCount())
        )
    except pynvml.NVMLError:  # a GPU that fell off the bus says so here
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object, driver: str) -> Gpu:
    import pynvml

    try:
        processes = {p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    except pynvml.NVMLError:  # not permitted, or not supported under MIG
        processes = set()
    return Gpu(
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        driver=driver,
        used=os.getpid() in processes,
    )
