"""Options that commands share, made from `Run` itself so that there is no second list."""

from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from ..run import Run

_OWN = (
    "data",
    "sampler",
    "distill",
    "weights",
)  # these have words of their own on the command line


def _training_options() -> type:
    hints = get_type_hints(Run)
    columns: list[tuple[str, Any, Any]] = []
    for f in fields(Run):
        if f.name not in _OWN:
            kind: Any = Annotated.__class_getitem__(  # type: ignore[attr-defined] # made at run time
                (hints[f.name], tyro.conf.arg(help=f.metadata["help"]))
            )
            default = f.default if f.default is not MISSING else None
            columns.append((f.name, kind, field(default=default)))
    made = make_dataclass("Training", columns, frozen=True)
    made.__doc__ = "How the network is trained."
    return made


if TYPE_CHECKING:
    Training = Any
else:
    Training = _training_options()


def run_of(training: Any, **more: Any) -> Run:
    """Build the Run of the training options; UsageError where they cannot be trained with."""
    return Run(**{f.name: getattr(training, f.name) for f in fields(training)}, **more)


@dataclass(frozen=True)
class Common:
    """How the command reads and speaks."""

    json: bool = False
    """Print the result as JSON."""
    dry_run: bool = False
    """Print the work, memory and time it would take, and do nothing."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Opening:
    """How the data are opened."""

    download: bool = False
    """Download the data set where torchvision knows how and it is not there."""
    strict: bool = False
    """Make a picture that does not decode an error, instead of leaving it out."""


# The groups of options, their words not prefixed with the group's name, and the word for data.
Train = Annotated[Training, tyro.conf.OmitArgPrefixes]
Open = Annotated[Opening, tyro.conf.OmitArgPrefixes]
Say = Annotated[Common, tyro.conf.OmitArgPrefixes]
DataWord = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="DATA",
        help="digits, a folder, a .parquet, .npz or .beton file, or NAME:ROOT such as cifar10:data",
    ),
]
