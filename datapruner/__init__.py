"""The public names of datapruner; each is loaded when it is first used, so importing is cheap."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .advising import advise as advise
    from .by_score import ByScore as ByScore
    from .data import Data as Data
    from .data import open_data as open_data
    from .distill import Distill as Distill
    from .embedding import embed as embed
    from .engine import fit as fit
    from .errors import PrunerError as PrunerError
    from .errors import Refused as Refused
    from .errors import UsageError as UsageError
    from .evaluation import evaluate as evaluate
    from .ffcv import FFCVLoader as FFCVLoader
    from .ffcv import write_beton as write_beton
    from .history import History as History
    from .infobatch import InfoBatch as InfoBatch
    from .loaders import Batch as Batch
    from .loaders import TensorLoader as TensorLoader
    from .loaders import TorchLoader as TorchLoader
    from .losses import cross_entropy as cross_entropy
    from .mixed import Mixed as Mixed
    from .models import make_model as make_model
    from .recorder import Recorder as Recorder
    from .recording import record as record
    from .rs2 import RS2 as RS2
    from .run import Run as Run
    from .samplers import Fixed as Fixed
    from .scores import Scores as Scores
    from .scores import score as score
    from .selection import Selection as Selection
    from .selection import keep as keep
    from .selfsup import pretrain as pretrain
    from .spending import select as select
    from .step_count import steps as steps
    from .sweeping import sweep as sweep
    from .teacher_pass import cache_teacher as cache_teacher
    from .teacher_words import load_teacher as load_teacher
    from .traces import Record as Record
    from .training import train as train
    from .weight_specs import WeightPruning as WeightPruning
    from .wrap import prune as prune

if TYPE_CHECKING:
    from . import masks as masks

_HOME = {
    "advise": "advising",
    "Data": "data",
    "open_data": "data",
    "Distill": "distill",
    "load_teacher": "teacher_words",
    "cache_teacher": "teacher_pass",
    "embed": "embedding",
    "pretrain": "selfsup",
    "History": "history",
    "evaluate": "evaluation",
    "fit": "engine",
    "PrunerError": "errors",
    "Refused": "errors",
    "UsageError": "errors",
    "FFCVLoader": "ffcv",
    "write_beton": "ffcv",
    "InfoBatch": "infobatch",
    "ByScore": "by_score",
    "Mixed": "mixed",
    "steps": "step_count",
    "Batch": "loaders",
    "TensorLoader": "loaders",
    "TorchLoader": "loaders",
    "cross_entropy": "losses",
    "make_model": "models",
    "Run": "run",
    "RS2": "rs2",
    "Fixed": "samplers",
    "Scores": "scores",
    "score": "scores",
    "Selection": "selection",
    "keep": "selection",
    "select": "spending",
    "Record": "traces",
    "Recorder": "recorder",
    "record": "recording",
    "sweep": "sweeping",
    "train": "training",
    "prune": "wrap",
    "WeightPruning": "weight_specs",
}
_PACKAGES = ("masks",)  # reached as attributes, such as datapruner.masks.make_masks

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(".provenance", __name__).versions().get("datapruner", "unknown")
    if name in _PACKAGES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'datapruner' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
