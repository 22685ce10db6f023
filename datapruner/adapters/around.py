"""What stands around a pruned loader for another library's trainer, and is else the loader."""

from typing import Any


class Around:
    """A pruned loader, of which a subclass changes what its trainer needs otherwise.

    Example:
        >>> Around(None, [3, 1]).index(1)
        1
    """

    def __init__(self, trainer: Any, loader: Any) -> None:
        self.trainer, self.loader = trainer, loader

    def __getattr__(self, name: str) -> Any:
        if name in ("trainer", "loader"):  # not there yet, as in a copy that is being unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)
