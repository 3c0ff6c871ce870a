"""What a keeper reads and writes for its kernel, and where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_aisec.errors import AisecError, BrokerUnreachableError, NotFoundError
from jupyter_aisec.ids import new_id
from jupyter_aisec.kernel.shelf import Limits, Shelf
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.artifact import SealResult, seal_artifact
from jupyter_aisec.sealed.store import UrlFolder, version_url

from .conftest import sealed

NAME = "results/x"


class Person:
    """Stands in for a PersonClient: one key, one store, one catalog."""

    def __init__(self, folder: Path) -> None:
        self.home = SimpleNamespace(folder=folder / "home")
        self.key = SigningKey.generate()
        self.catalog: list[Any] = []
        self.away = False

    def store(self) -> str:
        return f"file://{self.home.folder.parent}/store"

    def people(self) -> Any:
        return [SimpleNamespace(keys=[SimpleNamespace(key=self.key.public)])]

    def versions(self, name: str) -> Any:
        if self.away:
            raise BrokerUnreachableError("away")
        if not self.catalog:
            raise NotFoundError("no such artifact")
        return self.catalog

    def bundle(self, seal_id: str) -> Any:
        return {"statement": 1, "model_signature": {"a": 1}}


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture
def shelf(person: Person) -> Shelf:
    return Shelf(person, limits=Limits(versions=2, unregistered=2_000_000))  # type: ignore[arg-type]


def put(shelf: Shelf, seal_id: str, name: str, data: bytes) -> None:
    with shelf.create(NAME, seal_id, name) as sink:
        sink.write(data)


def code(*arguments: Any) -> str:
    with pytest.raises(AisecError) as raised:
        arguments[0](*arguments[1:])
    return raised.value.code


class Folder:
    """A version's folder as the kernel's own code has it."""

    def __init__(self, shelf: Shelf, seal_id: str) -> None:
        self._shelf, self._seal_id = shelf, seal_id

    def create(self, name: str) -> Any:
        return self._shelf.create(NAME, self._seal_id, name)


def seal(folder: Any, seal_id: str, key: SigningKey, **files: bytes) -> SealResult:
    return seal_artifact(NAME, files or {"a": b"1"}, folder, key, seal_id=seal_id)


def elsewhere(person: Person, url: str, key: SigningKey | None = None) -> Any:
    """What the catalog says of a version that lies at ``url``."""
    seal_id = new_id("seal")
    result = seal(UrlFolder(url), seal_id, key or person.key)
    return SimpleNamespace(artifact=NAME, seal_id=seal_id, url=url, manifest=result.envelope)


# Reading.


def test_what_a_person_sealed_elsewhere_is_read(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    for url in (f"file://{tmp_path}/other", str(tmp_path / "third")):
        view = elsewhere(person, url)
        assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "not-found"
        shelf.named(view)
        assert shelf.source(NAME, view.seal_id, "0000.sealed").size == 57


def test_an_object_store_is_read(shelf: Shelf, person: Person) -> None:
    view = elsewhere(person, "memory://bucket/shelf/x")
    shelf.named(view)
    assert shelf.source(NAME, view.seal_id, "0000.sealed").size == 57


def test_where_a_kernel_says_that_it_lies_nobody_goes(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    view = elsewhere(person, f"file://{tmp_path}/other", SigningKey.generate())
    shelf.named(view)
    assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "store-not-allowed"
    view.manifest = SimpleNamespace(signatures=())
    assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "store-not-allowed"


@pytest.mark.parametrize(
    "url",
    [
        "reference://d::file:///x",
        "webhdfs://127.0.0.1:1/x",
        "http://host/x",
        "file:///a/../b",
        "relative/path",
    ],
)
def test_a_url_that_is_no_store_is_not_opened(
    shelf: Shelf, person: Person, tmp_path: Path, url: str
) -> None:
    view = elsewhere(person, f"file://{tmp_path}/other")
    view.url = url
    shelf.named(view)
    assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "url-refused"


def test_secrets_are_not_read_also_not_over_a_link(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    person.home.folder.mkdir()
    view = elsewhere(person, f"file://{person.home.folder}/deep")
    (tmp_path / "link").symlink_to(person.home.folder)
    for url in (view.url, f"file://{tmp_path}/link/deep"):
        view.url = url
        shelf.named(view)
        assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "store-not-allowed"


def test_a_link_out_of_a_versions_folder_is_not_followed(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    view = elsewhere(person, f"file://{tmp_path}/other")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file = tmp_path / "other" / "0000.sealed"
    file.unlink()
    shelf.named(view)
    assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "sealed-file-missing"
    file.symlink_to(secret)
    assert code(shelf.source, NAME, view.seal_id, "0000.sealed") == "store-not-allowed"


def test_a_link_out_of_the_store_is_not_followed(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "results").symlink_to(tmp_path / "outside")
    assert code(put, shelf, new_id("seal"), "0000.sealed", sealed(1)) == "store-not-allowed"
    assert list((tmp_path / "outside").iterdir()) == []


# Writing.


def test_a_version_is_stored_registered_and_stays(
    shelf: Shelf, person: Person, tmp_path: Path
) -> None:
    seal_id = new_id("seal")
    result = seal(Folder(shelf, seal_id), seal_id, person.key)
    assert shelf.source(NAME, seal_id, "0000.sealed").size == 57
    url = version_url(person.store(), NAME, seal_id)
    assert code(shelf.check_registration, result.envelope, url + "/x") == "store-not-allowed"
    assert code(put, shelf, seal_id, "bundle.json", b"{}") == "document-differs"
    shelf.check_registration(result.envelope, url)
    shelf.registered(result.envelope)
    assert code(put, shelf, seal_id, "0001.sealed", sealed(1)) == "document-differs"
    assert code(put, shelf, seal_id, "bundle.json", b'{"statement":1}') == "document-differs"
    assert code(put, shelf, seal_id, "model.sig", b"plaintext") == "document-differs"
    put(shelf, seal_id, "bundle.json", canonical(person.bundle(seal_id)))
    put(shelf, seal_id, "model.sig", canonical({"a": 1}))
    shelf.sweep()
    assert len(list((tmp_path / "store" / NAME / seal_id).iterdir())) == 4


@pytest.mark.parametrize("documents", [False, True], ids=["files alone", "with a manifest"])
def test_what_became_no_version_goes_with_the_kernel(
    shelf: Shelf, person: Person, tmp_path: Path, documents: bool
) -> None:
    seal_id = new_id("seal")
    if documents:
        seal(Folder(shelf, seal_id), seal_id, person.key)
    else:
        put(shelf, seal_id, "0000.sealed", sealed(1))
    shelf.sweep()
    assert list((tmp_path / "store" / "results").iterdir()) == []


def test_in_an_object_store_it_goes_too(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://bucket/{new_id('seal')}"
    monkeypatch.setattr(person, "store", lambda: url)
    shelf = Shelf(person, hidden=())  # type: ignore[arg-type]
    seal_id = new_id("seal")
    put(shelf, seal_id, "0000.sealed", sealed(1))
    shelf.sweep()
    assert code(shelf.source, NAME, seal_id, "0000.sealed") == "sealed-file-missing"


@pytest.mark.parametrize("how", ["no answer", "taken", "refused"])
def test_what_the_broker_may_yet_register_stays(
    shelf: Shelf, person: Person, tmp_path: Path, how: str
) -> None:
    """Also while its catalog does not have it: the registration may be under way."""
    seal_id = new_id("seal")
    result = seal(Folder(shelf, seal_id), seal_id, person.key)
    shelf.check_registration(result.envelope, version_url(person.store(), NAME, seal_id))
    if how != "no answer":
        (shelf.registered if how == "taken" else shelf.refused)(result.envelope)
    shelf.sweep()
    there = (tmp_path / "store" / NAME / seal_id / "manifest.json").exists()
    assert there == (how != "refused")


def test_a_seal_id_of_the_catalog_is_taken(shelf: Shelf, person: Person) -> None:
    seal_id = new_id("seal")
    person.catalog = [SimpleNamespace(seal_id=seal_id)]
    assert code(put, shelf, seal_id, "0000.sealed", sealed(1)) == "seal-id-taken"


def test_a_manifest_is_of_what_was_written(shelf: Shelf, person: Person, tmp_path: Path) -> None:
    seal_id = new_id("seal")
    result = seal(UrlFolder(f"file://{tmp_path}/other"), seal_id, person.key)
    manifest = canonical(result.envelope)
    assert code(put, shelf, seal_id, "manifest.json", manifest) == "document-differs"
    assert code(put, shelf, seal_id, "manifest.json", b"plaintext") == "malformed"
    assert code(put, shelf, new_id("seal"), "manifest.json", manifest) == "document-differs"
    assert code(shelf.check_registration, result.envelope, "") == "document-differs"


def test_there_are_limits(person: Person) -> None:
    limits = Limits(versions=1, unregistered=200_000, names=10, manifest=10_000)
    shelf = Shelf(person, limits=limits)  # type: ignore[arg-type]
    seal_id = new_id("seal")
    assert code(put, shelf, seal_id, "0000.sealed", sealed(200_000)) == "store-limit"
    put(shelf, seal_id, "0000.sealed", sealed(100_000))
    assert code(put, shelf, seal_id, "0001.sealed", sealed(100_000)) == "store-limit"
    assert code(put, shelf, new_id("seal"), "0000.sealed", sealed(1)) == "store-limit"
    assert code(put, shelf, seal_id, "manifest.json", bytes(10_001)) == "store-limit"
    other = Shelf(person, limits=limits)  # type: ignore[arg-type]
    with pytest.raises(AisecError, match="names of files"):
        seal(Folder(other, seal_id := new_id("seal")), seal_id, person.key, **{"n" * 11: b""})
