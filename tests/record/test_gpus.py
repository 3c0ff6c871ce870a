"""GPU facts, from a stand-in NVML library that pynvml loads like the driver's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.provenance.facts import Gpu

SHOW = """
import msgspec, sys
from jupyter_aisec.record import gpus
sys.stdout.buffer.write(msgspec.json.encode(gpus()))
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="session")
def nvml(tmp_path_factory):
    """A folder with the stand-in ``libnvidia-ml.so.1``."""
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_standin.c")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)
    return folder


def _gpus(folder, **extra):
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), **extra}
    done = subprocess.run([sys.executable, "-c", SHOW], env=env, check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=tuple[Gpu, ...])


def test_gpus_by_uuid_and_the_one_this_process_uses(nvml):
    first, second = _gpus(nvml)
    assert first.uuid == "GPU-00000000-0000-0000-0000-000000000001"
    assert first.name == "NVIDIA H100 80GB HBM3"
    assert (first.memory, first.driver) == (85_899_345_920, "580.95.05")
    assert [first.used, second.used] == [False, True]


def test_processes_that_may_not_be_seen_leave_the_rest(nvml):
    assert [gpu.used for gpu in _gpus(nvml, AISEC_NVML_FAULT="processes")] == [False, False]


@pytest.mark.parametrize("fault", ["init", "lost"])
def test_a_driver_at_fault_is_no_gpu_and_no_error(nvml, fault):
    assert _gpus(nvml, AISEC_NVML_FAULT=fault) == ()


def test_no_driver_is_no_gpu(tmp_path):
    assert _gpus(tmp_path) == ()


@pytest.mark.parametrize("fault", ["", "processes", "lost", "init"])
def test_every_branch_in_this_process(nvml, monkeypatch, fault):
    """The same in process, so that coverage sees it: the library is loaded by hand."""
    import ctypes

    import pynvml

    from jupyter_aisec.record import gpus

    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(nvml / "libnvidia-ml.so.1")))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("AISEC_NVML_FAULT", fault)
    # The stand-in reads the C environment, which setenv above changes too.
    assert len(gpus()) == (2 if fault in ("", "processes") else 0)
