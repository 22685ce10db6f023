"""What is installed here, what of it works, and what to do about the rest."""

import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

FREE_GB = 2.0  # a record of ImageNet over 90 epochs takes 2.3 GB a trace; small sets need far less


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at, such as "torch".
        ok: True works, False does not, None is only worth knowing (an extra that is not there).
        found: what was found, or the error, in one line.
        advice: what to do; empty where there is nothing to do.

    Example:
        >>> Check("ffcv", None, "not installed", "pip install ffcv").ok is None
        True
    """

    name: str
    ok: bool | None
    found: str
    advice: str = ""


def checks() -> list[Check]:
    """Look at everything datapruner stands on. Takes seconds, writes nothing, never raises.

    Example:
        >>> checks()[0].name
        'python'
    """
    found = []
    for name, (probe, advice) in PROBES.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(probe(name))
        except (Exception, SystemExit) as error:  # a broken library may raise anything at all
            found.append(Check(name, False, _one_line(error), advice))
    return found


def text(found: Iterable[Check]) -> str:
    """Set checks as aligned plain lines, advice under the line it belongs to, a verdict at the end.

    Example:
        >>> print(text([Check("torch", True, "2.13.0"), Check("gpu", None, "none", "buy one")]))
        ok    torch  2.13.0
        note  gpu    none
                     -> buy one
        All that datapruner needs works.
    """
    found = list(found)
    width = max((len(check.name) for check in found), default=0)
    lines = []
    for check in found:
        word = {True: "ok", False: "FAILS", None: "note"}[check.ok]
        lines.append(f"{word:<5} {check.name:<{width}}  {check.found}")
        if check.advice:
            lines.append(f"{'':<6}{'':<{width}}  -> {check.advice}")
    broken = [check.name for check in found if check.ok is False]
    lines.append(
        f"To be mended: {', '.join(broken)}." if broken else "All that datapruner needs works."
    )
    return "\n".join(lines)


def _one_line(error: BaseException) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"


def _python(name: str) -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    ok = sys.version_info >= (3, 10)
    return Check(name, ok, found, "" if ok else "install Python 3.10 or later")


def _torch(name: str) -> Check:
    import torch

    build = "CPU build"
    if torch.version.cuda:
        build = f"CUDA {torch.version.cuda} build"
    elif torch.version.hip:
        build = f"ROCm {torch.version.hip} build"
    total = float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())
    found = f"{torch.__version__} ({build}), {torch.get_num_threads()} threads"
    return Check(name, total == 512.0, found)


def _bf16(name: str) -> Check:
    import torch

    from .hardware import computes_in_bf16

    if computes_in_bf16(torch.device("cpu")):
        return Check(name, True, "this CPU multiplies bfloat16 itself (AVX512-BF16 or AMX)")
    return Check(name, None, "this CPU only emulates bfloat16; CPU runs stay in float32")


def _torchvision(name: str) -> Check:
    from .vision import operators_work, torchvision

    found = str(torchvision().__version__)
    torchvision("transforms")
    torchvision("models")
    if operators_work():
        return Check(name, True, f"{found}, operators included")
    return Check(
        name,
        None,
        f"{found}, built for another torch; all but its compiled operators (nms, ...) works",
        "nothing here needs those; to have them, install torch and torchvision from one index, "
        "such as https://download.pytorch.org/whl/cpu",
    )


def _ffcv(name: str) -> Check:
    try:
        from .ffcv.installed import leave_tbb

        leave_tbb()  # importing ffcv starts numba's threads
        import_module("ffcv")
        import_module("ffcv.loader")
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "ffcv"
        return Check(
            name,
            None,
            "not installed; .beton files cannot be read or written, all else works"
            if absent
            else f"installed, but does not load: {_one_line(error)}",
            "run `make ffcv` in the repository, or by hand: apt-get install pkg-config g++ "
            "python3-dev libopencv-dev libturbojpeg0-dev; pip install 'datapruner[ffcv]'",
        )
    return Check(name, True, version("ffcv"))


def _faiss(name: str) -> Check:
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    _, nearest = index.search(np.eye(2, dtype=np.float32), 1)
    ok = nearest.ravel().tolist() == [0, 1]
    return Check(name, ok, str(faiss.__version__), "" if ok else PROBES[name][1])


def _library(name: str) -> Check:
    import_module(name)
    return Check(name, True, version(name))


def _extra(name: str, what: str, extra: str) -> Check:
    try:
        import_module(name.replace("-", "_"))
    except ModuleNotFoundError:
        return Check(
            name, None, f"not installed; {what} needs it", f"pip install 'datapruner[{extra}]'"
        )
    return Check(name, True, version(name))


def _pillow(name: str) -> Check:
    from PIL import features

    missing = [kind for kind in ("webp", "jpg", "zlib") if not features.check(kind)]
    if missing:
        return Check(
            name,
            False,
            f"{version('pillow')}, built without {', '.join(missing)}",
            "pip install --force-reinstall --only-binary :all: pillow",
        )
    return Check(name, True, f"{version('pillow')}, reads JPEG, PNG and WebP")


def _gpu(name: str) -> Check:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{card.name} ({card.total_memory / 2**30:.0f} GiB)" for card in cards)
        return Check(name, True, found)
    if torch.backends.mps.is_available():
        return Check(name, True, "Apple GPU (mps)")
    if Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi"):
        return Check(
            name,
            None,
            "an NVIDIA driver is here, but this torch cannot use it",
            "pip install a CUDA build of torch: https://pytorch.org/get-started/locally",
        )
    return Check(name, None, "none; training runs on the CPU")


def _disk(name: str) -> Check:
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    found = f"{free:.1f} GB free at {here}"
    if not os.access(here, os.W_OK):
        return Check(name, False, f"{here} cannot be written to", "run in a folder of your own")
    if free < FREE_GB:
        return Check(name, False, found, "make room, or give --out on another disk")
    return Check(name, True, found)


def _terminal(name: str) -> Check:
    if not sys.stderr.isatty():
        return Check(name, None, "stderr is no terminal; progress comes as plain lines")
    return Check(name, True, f"{shutil.get_terminal_size().columns} columns, progress as bars")


# In the order they are shown: how to look, and what to do where looking itself fails.
PROBES: dict[str, tuple[Callable[[str], Check], str]] = {
    "python": (_python, "install Python 3.10 or later"),
    "torch": (_torch, "reinstall it: https://pytorch.org/get-started/locally"),
    "bfloat16": (_bf16, "mend torch first"),
    "torchvision": (_torchvision, "install the release that belongs to your torch (0.28 to 2.13)"),
    "ffcv": (_ffcv, "pip uninstall ffcv, then `make ffcv` in the repository"),
    "faiss": (_faiss, "pip install --force-reinstall faiss-cpu"),
    "numba": (_library, "pip install --upgrade numba; it lags behind new numpy releases"),
    "pyarrow": (_library, "pip install --force-reinstall pyarrow"),
    "pillow": (_pillow, "pip install --force-reinstall pillow"),
    "torch-pruning": (
        lambda name: _extra(name, "taking channels out of a network", "structured"),
        "pip install --force-reinstall torch-pruning",
    ),
    "onnx": (
        lambda name: _extra(name, "writing a network for other runtimes", "export"),
        "pip install --force-reinstall onnx",
    ),
    "gpu": (_gpu, "mend torch first"),
    "disk": (_disk, "change to a folder that exists"),
    "terminal": (_terminal, "nothing depends on it"),
}
