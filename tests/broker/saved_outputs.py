"""Outputs as a saved notebook has them, and the kernel that asks for their content keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import requests

from jupyter_aisec.sealed.outputs import (
    MIME_TYPE,
    OutputKey,
    SealedOutput,
    open_output,
    read_output,
    seal_output,
)
from jupyter_aisec.sealed.release import output_release_info
from tests.broker.world import Api, Kernel, Sealed

SHOWN = {"output_type": "stream", "name": "stdout", "text": "accuracy 0.4711"}


def saved_output(*made_from: Sealed) -> SealedOutput:
    """SHOWN, as a notebook has it that was saved."""
    recipients = {
        OutputKey(artifact=one.artifact, seal_id=one.manifest.seal_id): one.output_key.public
        for one in made_from
    }
    return read_output(seal_output(SHOWN, recipients)["data"][MIME_TYPE])


def open_saved(answer: Any, saved: SealedOutput, kernel: Kernel) -> dict[str, Any]:
    """The output, as the kernel opens it."""
    info = output_release_info(ciphertext_sha256=saved.header.ciphertext_sha256, kernel=kernel.id)
    return open_output(saved, kernel.release.open(msgspec.convert(answer["key"], bytes), info))


def ask_output(
    api: Api,
    saved: SealedOutput,
    grants: Sequence[str],
    kernel: Kernel,
    *,
    action: str | None = None,
    **header: Any,
) -> requests.Response:
    """Ask for the content key of ``saved``: one grant for each of its keys, in their order."""
    seal_ids = [key.seal_id for key in saved.header.keys]
    body = {
        "header": {**msgspec.to_builtins(saved.header), **header},
        "grants": dict(zip(seal_ids, grants, strict=True)),
    }
    return api.send("POST", "/v1/outputs/keys", body, kernel=kernel, action=action)
