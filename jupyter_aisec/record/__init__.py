"""Recording runs: cells, frameworks, GPUs, environment. Nobody calls a logger.

``Recorder().install(get_ipython())`` is all there is to do; ``facts()`` is what it saw.
"""

from jupyter_aisec.record.cells import source_digest
from jupyter_aisec.record.environment import environment
from jupyter_aisec.record.gpus import gpus
from jupyter_aisec.record.recorder import Recorder, RunFacts, current

__all__ = [
    "Recorder",
    "RunFacts",
    "current",
    "environment",
    "gpus",
    "source_digest",
]
