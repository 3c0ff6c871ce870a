"""``aisec://dataset/corpus/part-0.jsonl``: open artifacts as a read-only fsspec filesystem.

So pandas, dask, ray, datasets and torch read them. Where an artifact comes from is up to
the provider that the kernel sets: it holds the grant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractFileSystem

from jupyter_aisec.errors import UsageError
from jupyter_aisec.sealed.provider import get_provider

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import OpenArtifact

__all__ = ["AisecFileSystem"]


class AisecFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Read-only; raises FileNotFoundError as fsspec's callers expect, else our errors."""

    protocol = "aisec"
    cachable = False  # what is open changes with the grant
    root_marker = ""

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        artifact, name, inside = _look(path)
        path = self._strip_protocol(path)
        for file in artifact.manifest.files:
            if file.name == name:
                return {"name": path, "size": file.size, "type": "file"}
        if name and not inside:
            raise FileNotFoundError(f"{artifact.manifest.artifact} has no file {name!r}.")
        return {"name": path, "size": 0, "type": "directory"}

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        found = self.info(path)
        if found["type"] == "directory":
            _, name, inside = _look(path)
            start = len(f"{name}/") if name else 0
            children = sorted({entry[start:].split("/")[0] for entry in inside})
            infos = [self.info(f"{found['name']}/{child}") for child in children]
        else:
            infos = [found]
        return infos if detail else [info["name"] for info in infos]

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "rb":
            raise UsageError(
                "aisec:// can only be read.",
                next="Seal a result from memory: `%save_secure VAR as NAME`.",
                code="read-only",
            )
        if self.info(path)["type"] == "directory":
            raise IsADirectoryError(path)
        artifact, name, _inside = _look(path)
        return artifact.open(name)


def _look(path: str) -> tuple[OpenArtifact, str, list[str]]:
    """The artifact a path lies in, the name inside it, and the files below that name."""
    provider = get_provider()
    if provider is None:
        raise UsageError(
            "No artifact can be opened in this process.",
            next="In a notebook: %load_ext jupyter_aisec, then %grant request.",
            code="no-provider",
        )
    parts = AisecFileSystem._strip_protocol(path).strip("/").split("/")
    if len(parts) < 2:
        raise FileNotFoundError(f"{path!r} names no artifact: aisec://dataset/NAME/FILE.")
    artifact = provider("/".join(parts[:2]))
    name = "/".join(parts[2:])
    return artifact, name, [n for n in artifact.names if not name or n.startswith(f"{name}/")]
