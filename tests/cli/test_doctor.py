from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from jupyter_aisec.cli import doctor as module
from jupyter_aisec.cli import isolation
from jupyter_aisec.confine import Level
from jupyter_aisec.errors import ConfinementError


@pytest.mark.parametrize(
    ("content", "state"),
    [
        ("Filename Type Size Used Priority\n", "ok"),
        ("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n", "warn"),
        (None, "warn"),
    ],
    ids=["off", "on", "not told"],
)
def test_swap(tmp_path: Path, content: str | None, state: str) -> None:
    file = tmp_path / "swaps"
    if content is not None:
        file.write_text(content)
    [found] = module._swap(file)
    assert found.state == state


def test_less_than_full_isolation_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "probe", lambda: Level("partial", ("mounts",)))
    [found] = module._isolation()
    assert (found.state, found.detail) == ("warn", "partial (missing: mounts)")


def test_the_level_is_what_a_confinement_proves_here() -> None:
    assert isolation.probe().name in ("full", "partial", "none")


def test_a_confinement_that_cannot_be_made_is_no_isolation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refused:
        def __init__(self, **_: object) -> None:
            raise ConfinementError("No namespaces here.")

    monkeypatch.setattr(isolation, "Confinement", Refused)
    isolation.prove()
    found = json.loads(capsys.readouterr().out)
    assert found == {"name": "none", "missing": ["No namespaces here."]}


def test_isolation_that_cannot_be_tried_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **_: object) -> None:
        raise subprocess.TimeoutExpired("probe", 1)

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(ConfinementError, match="isolation"):
        isolation.probe()
    [found] = module._isolation()
    assert found.state == "warn"
    assert "could not be tried" in found.detail


def test_a_broker_without_encryption_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    found = module._transport("http://broker.example:8787", "log.example")
    assert found.state == "warn"
    assert module._transport("http://127.0.0.1:8787", "log.example").state == "ok"
    assert module._transport("https://broker.example", "log.example").state == "ok"


def test_parts_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    [found] = module._versions()
    assert "no torch" in found.detail
