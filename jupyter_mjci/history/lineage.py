"""Follow tasks to what was made of them: from an imagine to its variations, upscales and zooms.

Parents are looked up once, then depths and roots are found by
pointer jumping: each step doubles how far a task looks up, so that
a million tasks take as many steps as the deepest chain has binary
digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.normalization import check_columns

LINEAGE_COLUMNS = (
    "service",
    "origin",
    "id",
    "parent",
    "action",
    "status",
    "subject",
    "submitted",
)
Positions = np.ndarray[Any, np.dtype[np.int64]]


def build_lineage(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return the place of every job in its tree.

    Args:
        jobs: jobs with id and parent

    Returns:
        The jobs in their order, with the columns root (the id at
        the top), depth (0 at the top), children (direct ones) and
        descendants.
    """
    check_columns(jobs, ["id", "parent"])
    parents = _find_parents(jobs)
    roots, depths = _jump_to_roots(parents)
    columns = [name for name in LINEAGE_COLUMNS if name in jobs.columns]
    ids = jobs["id"].astype("string").array
    frame = jobs[columns].assign(root=ids.take(roots), depth=depths)
    has_parent = parents >= 0
    frame["children"] = np.bincount(parents[has_parent], minlength=len(jobs))
    frame["descendants"] = _count_descendants(parents, depths)
    return frame


def _find_parents(jobs: pd.DataFrame) -> Positions:
    """Return the position of each job's parent; -1 where it has none, or none that is known."""
    parents = np.full(len(jobs), -1, dtype=np.int64)
    names = [name for name in ("service", "origin") if name in jobs.columns]
    if not names:
        groups = [np.arange(len(jobs))]
    else:
        # Ids are unique only there.
        grouped = jobs.groupby(names, dropna=False, observed=True)
        groups = [np.asarray(rows) for rows in grouped.indices.values()]
    ids = jobs["id"].astype("string")
    wanted = jobs["parent"].astype("string")
    for rows in groups:
        known = ids.iloc[rows]
        is_last = ~known.duplicated(keep="last").to_numpy()
        places = pd.Index(known[is_last]).get_indexer(pd.Index(wanted.iloc[rows]))
        found = rows[is_last][places]
        parents[rows] = np.where((places >= 0) & wanted.iloc[rows].notna(), found, -1)
    own = np.arange(len(jobs))
    parents[parents == own] = -1
    return parents


def _jump_to_roots(parents: Positions) -> tuple[Positions, Positions]:
    """Return the position of each job's root, and how far it is; changes parents in a circle.

    A circle of parents, which no service makes, is cut: each of
    its jobs becomes a root.
    """
    own = np.arange(len(parents))
    ancestors = np.where(parents >= 0, parents, own)
    depths = (parents >= 0).astype(np.int64)
    for _ in range(max(len(parents), 2).bit_length() + 1):
        depths = depths + depths[ancestors]
        ancestors = ancestors[ancestors]
    in_circle = parents[ancestors] >= 0
    if not in_circle.any():
        return ancestors, depths
    # So many steps up, everybody below a circle is in it.
    parents[np.unique(ancestors[in_circle])] = -1
    return _jump_to_roots(parents)


def _count_descendants(parents: Positions, depths: Positions) -> Positions:
    """Return how many jobs were made of each, directly or not: the deepest are added up first."""
    counts = np.zeros(len(parents), dtype=np.int64)
    order = np.argsort(depths, kind="stable")
    bounds = np.searchsorted(depths[order], np.arange(depths.max(initial=0) + 2))
    for depth in range(len(bounds) - 2, 0, -1):
        rows = order[bounds[depth] : bounds[depth + 1]]
        np.add.at(counts, parents[rows], counts[rows] + 1)
    return counts


def select_tree(lineage: pd.DataFrame, root: str | None) -> pd.DataFrame:
    """Return one tree, each job before those made of it, oldest first.

    Args:
        lineage: what `build_lineage` returned
        root: the id of any job of the tree; the largest tree
            where it is None

    Raises:
        InvalidRequest: there is no such job
    """
    if lineage.empty:
        return lineage
    if root is None:
        tops = lineage[lineage["depth"] == 0]
        chosen = tops["id"].iloc[int(tops["descendants"].to_numpy().argmax())]
    else:
        rows = lineage[lineage["id"] == str(root)]
        if rows.empty:
            raise InvalidRequest(
                f"There is no job {root!r} in this history.", hint="root is the id of a job."
            )
        chosen = rows["root"].iloc[-1]
    tree = lineage[lineage["root"] == chosen].reset_index(drop=True)
    ordered: pd.DataFrame = tree.iloc[_order_depth_first(tree)].reset_index(drop=True)
    return ordered


def _order_depth_first(tree: pd.DataFrame) -> list[int]:
    children: dict[str, list[int]] = {}
    ids = tree["id"].tolist()
    known = set(ids)
    stack = []
    for row, (parent, depth) in enumerate(zip(tree["parent"], tree["depth"], strict=True)):
        if depth == 0 or parent not in known:
            stack.append(row)
        else:
            children.setdefault(parent, []).append(row)
    order = []
    stack.reverse()
    while stack:
        row = stack.pop()
        order.append(row)
        stack.extend(reversed(children.get(ids[row], [])))
    return order
