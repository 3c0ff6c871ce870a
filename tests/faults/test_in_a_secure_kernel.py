"""The same rows in a real secure kernel: over the keeper and its relay, in the confinement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunningBroker
from tests.faults.kernels import KernelNotebook, secure_kernel
from tests.faults.person import Person, ok
from tests.faults.table import Row
from tests.faults.test_in_a_notebook import CHANGES, Sealed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def secure(
    broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KernelNotebook]:
    """One kernel for all rows."""
    folder = tmp_path_factory.mktemp("secure")
    broker.client("researcher").whoami()
    (folder / "work").mkdir()
    person = Person(broker, "researcher", folder / "work")
    notebook = secure_kernel(person, folder / "kernel")
    yield notebook
    notebook.kernel.stop()


@pytest.mark.parametrize("row", [*CHANGES, "sealed-file-swapped"], indirect=True)
def test_a_sealed_file_that_is_not_what_it_was(
    row: Row, secure: KernelNotebook, approving: Person, tmp_path: Path
) -> None:
    sealed = Sealed(secure, approving, f"dataset/secure-{row.id}", tmp_path)
    sealed.loaded()
    if row.id in CHANGES:
        sealed.damaged(row, CHANGES[row.id])
    else:
        sealed.swapped(row)


@pytest.mark.parametrize("row", ["pickle"], indirect=True)
def test_a_pickle_is_not_sealed(row: Row, secure: KernelNotebook, researching: Person) -> None:
    secure.cell("import os; os.chdir(os.environ['AISEC_SCRATCH'])")
    secure.cell("import torch; torch.save({'w': torch.ones(3)}, 'model.pt')")
    met = secure.meets(row, "%save_secure $AISEC_SCRATCH/model.pt as weights/from-a-pickle")
    (convert,) = met.commands()
    secure.cell(f"!{convert}")
    secure.cell("%save_secure $AISEC_SCRATCH/model.safetensors as weights/from-a-pickle")
    ok(researching.run("artifact", "show", "weights/from-a-pickle"))
