import builtins
import os
import shutil
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from datapruner import doctor
from datapruner.doctor import PROBES, Check, checks, text


def one(name):
    return next(check for check in checks() if check.name == name)


def test_everything_is_looked_at_in_order_and_works_here():
    found = checks()
    assert [check.name for check in found] == list(PROBES)
    assert [check.name for check in found if check.ok is False] == []
    assert text(found).endswith("All that datapruner needs works.")


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, SystemExit, KeyError])
def test_no_broken_library_stops_it(monkeypatch, error):
    original = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.split(".")[0] in {"torch", "faiss", "PIL", "numba", "ffcv", "torchvision"}:
            raise error("symbol not found\nsecond line")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    monkeypatch.setattr(doctor, "import_module", broken)
    found = checks()
    assert [check.name for check in found] == list(PROBES)
    for check in found:
        assert "\n" not in check.found
        assert check.advice or check.ok is not False
    broken_ones = {check.name for check in found if check.ok is False}
    assert {"torch", "faiss", "numba", "pillow", "gpu"} <= broken_ones
    assert "To be mended: torch, " in text(found)


@pytest.mark.parametrize(("name", "extra"), [("torch-pruning", "structured"), ("onnx", "export")])
def test_an_extra_that_is_absent_is_a_note(monkeypatch, name, extra):
    def absent(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(doctor, "import_module", absent)
    check = one(name)
    assert check.ok is None
    assert check.advice == f"pip install 'datapruner[{extra}]'"


def test_ffcv_that_is_absent_and_ffcv_that_does_not_load(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'ffcv'", name="ffcv")

    def unloadable(name):
        raise ImportError("libopencv_core.so.406: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", absent)
    check = one("ffcv")
    assert check.ok is None
    assert check.found.startswith("not installed")
    assert "libturbojpeg0-dev" in check.advice
    monkeypatch.setattr(doctor, "import_module", unloadable)
    check = one("ffcv")
    assert check.ok is None
    assert "does not load: ImportError: libopencv_core" in check.found


def test_torchvision_of_the_other_build_is_explained(monkeypatch):
    monkeypatch.setattr("datapruner.vision.operators_work", lambda: False)
    check = one("torchvision")
    assert check.ok is None
    assert "nms" in check.found
    assert "whl/cpu" in check.advice


def test_pillow_without_webp(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda kind: kind != "webp")
    check = one("pillow")
    assert check.ok is False
    assert "without webp" in check.found


def test_graphics_cards(monkeypatch):
    import torch

    card = SimpleNamespace(name="Big Card", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    assert one("gpu").found == "Big Card (80 GiB), Big Card (80 GiB)"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name)
    assert "CUDA build" in one("gpu").advice


def test_disk(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2, 1, 1))
    assert one("disk").ok is False
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written" in one("disk").found


def test_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert one("terminal").ok is True
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: False))
    assert one("terminal").ok is None


def test_text_lines_up():
    lines = text([Check("a", True, "one"), Check("long", False, "two", "do it")]).splitlines()
    assert lines == [
        "ok    a     one",
        "FAILS long  two",
        "            -> do it",
        "To be mended: long.",
    ]
    assert text([]) == "All that datapruner needs works."
