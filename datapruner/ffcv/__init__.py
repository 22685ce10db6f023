"""FFCV: data sets as .beton files, and pruned epochs from them at full speed.

Only this package imports ffcv, and only when it is needed: importing it works without ffcv, and
what does need ffcv then says which packages to install.
"""

from .beton import adopt_beton, open_beton
from .installed import available
from .loader import FFCVLoader
from .pruned import PrunedLoader, prune_ffcv
from .write import Written, write_beton

__all__ = [
    "FFCVLoader",
    "PrunedLoader",
    "Written",
    "adopt_beton",
    "available",
    "open_beton",
    "prune_ffcv",
    "write_beton",
]
