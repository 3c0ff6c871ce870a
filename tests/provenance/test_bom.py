"""The bill of materials, as CycloneDX's own validator reads it."""

from __future__ import annotations

import json

import msgspec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from jupyter_aisec.provenance import Environment, bill_of_materials

ENVIRONMENT = Environment(
    python="CPython 3.11.7",
    platform="Linux-6.1.0-amd64-x86_64-with-glibc2.36",
    packages=("numpy==2.4.0", "ruamel.yaml==0.18.1", "torch==2.13.0+cpu", "numpy==2.4.0"),
    packages_sha256="00",
)


def test_the_strict_validator_accepts_it() -> None:
    bom = bill_of_materials(ENVIRONMENT).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None


def test_the_strict_validator_rejects_a_field_of_our_own() -> None:
    bom = json.loads(bill_of_materials(ENVIRONMENT)) | {"ours": True}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is not None


def test_each_package_is_there_once_under_its_normalised_url() -> None:
    components = json.loads(bill_of_materials(ENVIRONMENT))["components"]
    urls = [PackageURL.from_string(one["purl"]) for one in components]
    assert [(url.name, url.version) for url in urls] == [
        ("numpy", "2.4.0"),
        ("ruamel-yaml", "0.18.1"),
        ("torch", "2.13.0+cpu"),
    ]
    assert [one["name"] for one in components] == ["numpy", "ruamel.yaml", "torch"]


def test_the_same_packages_make_the_same_bytes() -> None:
    shuffled = msgspec.structs.replace(ENVIRONMENT, packages=ENVIRONMENT.packages[::-1])
    assert bill_of_materials(shuffled) == bill_of_materials(ENVIRONMENT)
