"""Saved outputs: their content keys, for a kernel that may open all they were made from."""

from __future__ import annotations

from fastapi import APIRouter

from jupyter_aisec.broker.identity import BrokerDep, KernelDep
from jupyter_aisec.broker.output_releases import release_output
from jupyter_aisec.broker.schemas import OutputIn
from jupyter_aisec.broker.views import OutputReleaseView

router = APIRouter(prefix="/v1/outputs", tags=["outputs"])


@router.post(
    "/keys", summary="The content key of a saved output, encrypted to the bound kernel that signs"
)
def keys(broker: BrokerDep, kernel: KernelDep, body: OutputIn) -> OutputReleaseView:
    return release_output(broker, body, kernel)
