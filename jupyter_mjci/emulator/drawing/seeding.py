from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
Lineage = tuple[tuple[int, float], ...]  # who rolled the dice, and how much each roll changed


def hash_to_unit(*parts: object) -> float:
    """A number from 0 to 1 that depends on nothing but the parts."""
    text = ":".join(map(str, parts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") / 0xFFFFFFFF


def extend_lineage(lineage: Lineage, seed: int, strength: float) -> Lineage:
    """One roller more; of very many the root and the latest count."""
    return (lineage[0], *lineage[1:][-15:], (seed, strength)) if lineage else ((seed, strength),)


class SeededRandom:
    """Named rolls. The first of the lineage decides, each later one pulls every roll a little its
    own way.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage

    def __call__(self, name: object, low: float = 0.0, high: float = 1.0) -> float:
        value = 0.5
        for seed, strength in self.lineage:
            value += (hash_to_unit(seed, name) - value) * strength
        return low + (high - low) * value

    def get_fixed(self, name: object) -> float:
        """A roll that variations leave alone: what would otherwise jump from one thing to quite
        another.
        """
        return hash_to_unit(self.lineage[0][0], name)

    def choose(self, name: object, items: Sequence[T]) -> T:
        return items[min(int(self.get_fixed(name) * len(items)), len(items) - 1)]


def derive_seed(seed: int, part: object) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=4).digest(), "big")
