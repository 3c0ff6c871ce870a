"""The machine's NVIDIA GPUs, asked of NVML: without CUDA, so that nothing is initialised.

``torch.cuda`` is never touched: initialising CUDA first breaks a later ``fork``
(``accelerate.notebook_launcher``).
"""

from __future__ import annotations

import os

from jupyter_aisec.provenance.facts import Gpu

__all__ = ["gpus"]


def gpus() -> tuple[Gpu, ...]:
    """The GPUs NVML shows this process; none where there is no driver."""
    import pynvml

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

    # In a container or a PID namespace NVML speaks of other process ids: ``used`` is best effort.
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
