"""What the page shows of an embedding: each cluster's nearest and farthest, and near-copies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from scorers.duplicates import duplicate_pairs
from scorers.prototypes import prototype_clusters

from ..files import read_json
from . import formats
from .pictures import Picture, ends, picture
from .tables import Table

if TYPE_CHECKING:
    from ..data import Data

NEIGHBOURS = "neighbours.json"
_MOST_CLUSTERS = 20
_PER_END = 10
_MOST_PAIRS = 60
_MOST_ROWS = 5000


def neighbours(
    data: "Data",
    rows: NDArray,
    names: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return plain values about clusters and copies, of the scorers that were named.

    Args:
        data: the embedding's.
        rows: (n, d).
        names: scorers; "prototypes" and "duplicates" have something to show.
        options: theirs, by name, as they were scored with.

    Returns:
        By scorer: the largest clusters, each with its ends; copies with whom they copy.

    Example:
        >>> from datapruner import open_data
        >>> data = open_data("digits")
        >>> found = neighbours(data, data.x.flatten(1).numpy(), ["prototypes"], {})
        >>> len(found["prototypes"]["clusters"][0]["near"])
        10
    """
    pool = np.flatnonzero(data.readable)
    found: dict[str, Any] = {}
    if not {"prototypes", "duplicates"} & set(names):
        return found
    embedding = torch.from_numpy(np.asarray(rows[pool], np.float32))
    if "prototypes" in names:
        cluster, distance = prototype_clusters(embedding, **options.get("prototypes", {}))
        found["prototypes"] = _clusters(
            cluster.numpy(), distance.double().numpy(), pool, np.asarray(data.labels)[pool]
        )
    if "duplicates" in names:
        given = options.get("duplicates", {})
        pairs, distance = duplicate_pairs(embedding, **given)
        found["duplicates"] = {
            "epsilon": given.get("epsilon", 0.05),
            "count": len(pairs),
            "pairs": [
                [int(pool[a]), int(pool[b]), round(float(d), 6)]
                for (a, b), d in zip(pairs[:_MOST_ROWS].tolist(), distance.tolist(), strict=False)
            ],
        }
    return found


def _clusters(
    cluster: NDArray[np.int64],
    distance: NDArray[np.float64],
    pool: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    sizes = np.bincount(cluster)
    largest = np.argsort(-sizes, kind="stable")[:_MOST_CLUSTERS]
    clusters = []
    for c in sorted(int(c) for c in largest if sizes[c]):
        far, near = ends(distance, cluster == c, _PER_END)
        clusters.append(
            {
                "cluster": c,
                "size": int(sizes[c]),
                "class": int(np.bincount(labels[cluster == c]).argmax()),
                "share": round(float(np.bincount(labels[cluster == c]).max() / sizes[c]), 4),
                "near": [[int(pool[i]), round(float(distance[i]), 6)] for i in near],
                "far": [[int(pool[i]), round(float(distance[i]), 6)] for i in far],
            }
        )
    return {"of": int((sizes > 0).sum()), "clusters": clusters}


@dataclass(frozen=True)
class Cluster:
    """One cluster: its size, its commonest class, and the pictures at both ends."""

    name: str
    about: str
    near: Sequence[Picture]
    far: Sequence[Picture]


@dataclass(frozen=True)
class CopyShown:
    """Two pictures side by side: the copy, and the one before it that it resembles."""

    copy: Picture
    earlier: Picture


@dataclass(frozen=True)
class Neighbours:
    """The section: clusters with their ends, near-copies in pairs, and both as rows."""

    clusters: Sequence[Cluster]
    clusters_said: str
    ends: Table | None
    copies: Sequence[CopyShown]
    copies_said: str
    pairs: Table | None


def read_neighbours(folder: Path | str) -> dict[str, Any] | None:
    """Return what `score` kept in the folder for this section, None where there is nothing."""
    path = Path(folder) / NEIGHBOURS
    return dict(read_json(path)) if path.exists() else None


def neighbours_shown(data: "Data", found: Mapping[str, Any] | None) -> Neighbours | None:
    """Build the section from what `neighbours` found; None where there is nothing to show.

    Pictures are left out where the data are none; the tables stay.
    """
    if not found:
        return None
    clusters, said, rows = _clusters_shown(data, found.get("prototypes"))
    copies, copies_said, pairs = _copies_shown(data, found.get("duplicates"))
    return Neighbours(clusters, said, rows, copies, copies_said, pairs)


def _clusters_shown(
    data: "Data", found: Mapping[str, Any] | None
) -> tuple[list[Cluster], str, Table | None]:
    if found is None:
        return [], "", None
    shown, rows = [], []
    for one in found["clusters"]:
        name = f"cluster {one['cluster']}"
        most = f"{formats.percent(one['share'])} {data.classes[one['class']]}"
        near, far = ([picture(data, i, d) for i, d in one[end]] for end in ("near", "far"))
        if data.is_image:
            shown.append(Cluster(name, f"{formats.count(one['size'])} examples, {most}", near, far))
        rows += [
            (name, end, place + 1, i, d)
            for end in ("near", "far")
            for place, (i, d) in enumerate(one[end])
        ]
    said = f"{formats.count(found['of'])} clusters"
    if found["of"] > len(found["clusters"]):
        said += f"; shown are the {len(found['clusters'])} largest"
    kinds = [("cluster", "text"), ("end", "text"), ("place", "count")]
    table = Table("ends of clusters", [*kinds, ("index", "text"), ("distance", "number")], rows)
    return shown, said, table


def _copies_shown(
    data: "Data", found: Mapping[str, Any] | None
) -> tuple[list[CopyShown], str, Table | None]:
    if found is None:
        return [], "", None
    pairs = found["pairs"]
    said = (
        f"{formats.count(found['count'])} examples lie within a cosine distance of "
        f"{found['epsilon']:g} of one before them in their cluster"
    )
    shown = [CopyShown(picture(data, a, d), picture(data, b, d)) for a, b, d in pairs[:_MOST_PAIRS]]
    rows = [
        (a, b, d, data.classes[int(data.labels[a])], data.classes[int(data.labels[b])])
        for a, b, d in pairs
    ]
    columns = [("copy", "text"), ("of", "text"), ("distance", "number")]
    table = Table("near-copies", [*columns, ("its label", "text"), ("label of", "text")], rows)
    return shown if data.is_image else [], said, table
