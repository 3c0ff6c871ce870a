"""The statement, as in-toto's own types and securesystemslib read it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from jupyter_aisec.people import canonical
from jupyter_aisec.provenance import bill_of_materials, sign_run
from jupyter_aisec.provenance.statement import BUILD_TYPE
from tests.provenance.world import Walked


@pytest.fixture
def statement(walked: Walked) -> dict[str, Any]:
    return json.loads(walked.signed.statement.payload)  # type: ignore[no-any-return]


def test_in_toto_and_slsa_types_accept_it(statement: dict[str, Any]) -> None:
    parsed = json_format.ParseDict(statement, statement_pb2.Statement())
    assert parsed.type == "https://in-toto.io/Statement/v1"
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"
    predicate = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type == BUILD_TYPE
    assert predicate.run_details.metadata.started_on.seconds


def test_slsa_types_reject_a_field_of_our_own(statement: dict[str, Any]) -> None:
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(statement["predicate"] | {"ours": 1}, provenance_pb2.Provenance())


def test_securesystemslib_verifies_it_and_rejects_a_tampered_one(walked: Walked) -> None:
    public = walked.world.keys["broker"].public
    key = SSlibKey.from_crypto(public.load(), keyid=public.key_id)
    envelope = json.loads(canonical(walked.signed.statement))
    assert list(OtherEnvelope.from_dict(envelope).verify([key], 1)) == [public.key_id]
    payload = walked.signed.statement.payload.replace(b'"ok":true', b'"ok":null')
    assert payload != walked.signed.statement.payload
    envelope = json.loads(canonical(walked.signed.statement))  # reading the first one changed it
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(VerificationError):
        OtherEnvelope.from_dict(envelope).verify([key], 1)


def test_the_subjects_are_the_files_as_they_lie_at_the_url(
    walked: Walked, statement: dict[str, Any]
) -> None:
    files = dict(walked.world.files[walked.seal_id])
    files["manifest.json"] = walked.world.manifest_file(walked.seal_id)
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        f"weights/digits-net/{name}": hashlib.sha256(content).hexdigest()
        for name, content in files.items()
    }


def test_inputs_carry_their_grant_and_release(walked: Walked, statement: dict[str, Any]) -> None:
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [one["name"] for one in dependencies] == ["dataset/digits", "weights/minilm"]
    entries = walked.world.entries
    for dependency, one in zip(dependencies, walked.record.inputs, strict=True):
        notes = dependency["annotations"]
        assert notes["grant"] == one.grant
        for reference in (
            notes["sealedIn"],
            notes["grantRequest"],
            notes["release"],
            *notes["approvals"],
        ):
            assert entries[reference["index"]].leaf_hash.hex() == reference["sha256"]
        assert notes["release"]["index"] == one.entry
        sealed = walked.world.state.catalog.sealed(one.seal_id)
        assert sealed is not None
        digest = hashlib.sha256(sealed.manifest.payload).hexdigest()
        assert dependency["digest"]["sha256"] == digest


def test_byproducts_are_named_by_digest(walked: Walked, statement: dict[str, Any]) -> None:
    products = {one["name"]: one for one in statement["predicate"]["runDetails"]["byproducts"]}
    contents = {
        "record": walked.signed.record.payload,
        "observation": walked.signed.observation.payload,  # type: ignore[union-attr]
        "differences": b"[]",
        "environment": bill_of_materials(walked.record.environment),
    }
    for name, content in contents.items():
        assert products[name]["digest"]["sha256"] == hashlib.sha256(content).hexdigest()
    for cell in walked.record.cells:
        assert products[f"cell {cell.n}"]["digest"]["sha256"] == cell.sha256


def test_nothing_of_the_request_but_its_digest_is_told(walked: Walked) -> None:
    assert b"Ablation" not in walked.signed.statement.payload
    assert b"part-0" not in walked.signed.statement.payload


def test_differences_are_signed_too(walked: Walked) -> None:
    world = walked.world
    observed = world.observe(walked.record)
    fewer = msgspec.structs.replace(observed, cells=observed.cells[1:])
    signed = _sign_before_recorded(walked, world.sign_observation(fewer))
    (difference,) = signed.differences
    assert difference.kind == "cell-unseen"
    statement = json.loads(signed.statement.payload)
    product = next(
        one
        for one in statement["predicate"]["runDetails"]["byproducts"]
        if one["name"] == "differences"
    )
    assert base64.b64decode(product["content"]) == canonical([difference])
    assert signed.body.differences == 1


def test_a_run_that_nobody_watched_says_so(walked: Walked) -> None:
    signed = _sign_before_recorded(walked, None)
    assert [one.kind for one in signed.differences] == ["unobserved"]
    assert signed.body.observation_sha256 is None


def _sign_before_recorded(walked: Walked, observation: Any) -> Any:
    recorded = next(one for one in walked.world.entries if one.type == "run.recorded")
    return sign_run(
        walked.world.entries[: recorded.index],
        walked.signed.record,
        observation,
        walked.world.keys["broker"],
    )
