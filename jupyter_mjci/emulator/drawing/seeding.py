"""Reproducible randomness: every value depends on a seed and a
name, never on the order of calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Seeds, the original's first, and how much each one changes every
# value (0 to 1).
Lineage = tuple[tuple[int, float], ...]
MAX_VARIATIONS = 16


def hash_to_unit(*parts: object) -> float:
    """Return a number from 0 to 1 that depends on nothing but the parts."""
    text = ":".join(map(str, parts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") / 0xFFFFFFFF


def derive_seed(seed: int, part: object) -> int:
    """Return a seed of 32 bits for a part of what the seed stands for."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=4).digest(), "big")


def extend_lineage(lineage: Lineage, seed: int, strength: float) -> Lineage:
    """Append a variation. Of very many, the original and the latest are kept."""
    if not lineage:
        return ((seed, strength),)
    return (lineage[0], *lineage[1:][1 - MAX_VARIATIONS :], (seed, strength))


class SeededRandom:
    """Named random numbers of a lineage.

    The first seed decides; each later one pulls every number
    towards its own by its strength.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage

    def __call__(self, name: object, low: float = 0.0, high: float = 1.0) -> float:
        value = 0.5
        for seed, strength in self.lineage:
            value += (hash_to_unit(seed, name) - value) * strength
        return low + (high - low) * value

    def get_fixed(self, name: object) -> float:
        """Return a number from 0 to 1 that variations leave
        alone, for what cannot change gradually.
        """
        return hash_to_unit(self.lineage[0][0], name)

    def choose(self, name: object, items: Sequence[T]) -> T:
        """Return one of the items; variations choose the same."""
        return items[min(int(self.get_fixed(name) * len(items)), len(items) - 1)]
