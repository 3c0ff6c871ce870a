"""The environment of a run as a bill of materials: CycloneDX 1.6 JSON.

Made from the recorded package lines alone and free of times and random serial numbers, so
that anybody can make the same bytes again from the record and compare digests.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.provenance.facts import Environment

__all__ = ["BOM_MEDIA_TYPE", "bill_of_materials"]

BOM_MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
_SEPARATORS = re.compile(r"[-_.]+")  # a package URL carries the normalised name (PEP 503)


def bill_of_materials(environment: Environment) -> bytes:
    """The BOM of ``environment``, as canonical JSON."""
    interpreter, _, version = environment.python.partition(" ")
    return canonical(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "platform",
                    "bom-ref": "interpreter",
                    "name": interpreter,
                    "version": version,
                    "description": environment.platform,
                }
            },
            "components": [_component(line) for line in sorted(set(environment.packages))],
        }
    )


def _component(line: str) -> dict[str, Any]:
    name, _, version = line.partition("==")
    normalised = _SEPARATORS.sub("-", name).lower()
    return {
        "type": "library",
        "bom-ref": line,
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{quote(normalised, safe='')}@{quote(version, safe='')}",
    }
