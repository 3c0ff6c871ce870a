"""Recording runs: cells, frameworks, GPUs, environment. Nobody calls a logger.

``Recorder().install(get_ipython())`` is all there is to do; ``facts()`` is what it saw.
"""

from jupyter_aisec.record.cells import Cell, source_digest
from jupyter_aisec.record.environment import Environment, environment
from jupyter_aisec.record.gpus import Gpu, gpus
from jupyter_aisec.record.recorder import Recorder, RunFacts, current
from jupyter_aisec.record.steps import Steps

__all__ = [
    "Cell",
    "Environment",
    "Gpu",
    "Recorder",
    "RunFacts",
    "Steps",
    "current",
    "environment",
    "gpus",
    "source_digest",
]
