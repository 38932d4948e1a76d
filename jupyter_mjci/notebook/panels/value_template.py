"""Parse the forms that a picture rule's value may take, such as "!<W>x<H>r".

A parameter says what it expects in words: "<W>x, x<H> or
<W>x<H>". Each alternative is a template with named slots; a panel
shows a slider for each slot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_mjci.client.translation import mark


@dataclass(frozen=True, slots=True)
class Slot:
    """A number in a template: label, range and initial value of its slider."""

    label: str
    low: float = 1
    high: float = 2000
    initial: float = 400


SLOTS = {
    "W": Slot(mark("Width")),
    "H": Slot(mark("Height")),
    "S": Slot(mark("Percent"), 1, 200, 50),
    "dx": Slot(mark("From the left"), 0, 2000, 0),
    "dy": Slot(mark("From the top"), 0, 2000, 0),
    "area": Slot(mark("Pixels"), 1, 4_000_000, 250_000),
    "radius": Slot(mark("Radius"), 1, 50, 8),
    "sigma": Slot(mark("Sigma"), 0.5, 50, 5),
    "n": Slot(mark("At most"), 1, 2000, 200),
}
# By the documents of imageMogr2/thumbnail, imageMogr2/crop and
# imageMogr2/size-limit.
TEMPLATE_LABELS = {
    "!<S>p": mark("percent"),
    "!<S>px": mark("percent of the width"),
    "!x<S>p": mark("percent of the height"),
    "<W>x": mark("width"),
    "x<H>": mark("height"),
    "<W>x<H>": mark("width × height"),
    "<W>x<H>>": mark("only if larger"),
    "<W>x<H><": mark("only if smaller"),
    "!<W>x<H>r": mark("cover"),
    "<W>x<H>!": mark("exact size"),
    "<area>@": mark("number of pixels"),
    "<n>k": mark("kB"),
    "<n>m": mark("MB"),
    "!<W>x<H>a<dx>a<dy>": mark("at a position"),
}
_SLOT_RE = re.compile(r"<([A-Za-z]+)(?: [^<>]*)?>")
_NUMBER = "([0-9]+(?:[.][0-9]+)?)"
_FORCE_SUFFIX_RE = re.compile(r",? with ! .*")


@dataclass(frozen=True, slots=True)
class ValueTemplate:
    """One form of a value: its text with a name in each slot, as "!<W>x<H>r"."""

    text: str

    @property
    def slots(self) -> tuple[Slot, ...]:
        names = _SLOT_RE.findall(self.text)
        return tuple(SLOTS.get(name, Slot(name.capitalize())) for name in names)

    @property
    def label(self) -> str:
        """The name of this form; "" for one of several slots that has none."""
        default = self.text if len(self.slots) < 2 else ""
        return TEMPLATE_LABELS.get(self.text, default)

    def format_value(self, numbers: Sequence[float]) -> str:
        """Fill the numbers into the slots; without numbers return the template itself."""
        if not numbers:
            return self.text
        values = iter(numbers)
        return _SLOT_RE.sub(lambda _: f"{next(values):g}", self.text)

    def parse_value(self, value: str) -> list[float] | None:
        """Return the numbers of a value, None for a value of another form."""
        literals = [re.escape(part) for part in _SLOT_RE.split(self.text)[::2]]
        match = re.fullmatch(_NUMBER.join(literals), value)
        if match is None:
            return None
        return [float(number) for number in match.groups()]


def parse_templates(expected: str) -> tuple[ValueTemplate, ...]:
    """Return a parameter's templates; none unless each of its alternatives has slots."""
    alternatives = re.split(r", | or ", _FORCE_SUFFIX_RE.sub("", expected))
    if not all(map(_SLOT_RE.search, alternatives)):
        return ()
    return tuple(map(ValueTemplate, alternatives))


def supports_force(expected: str) -> bool:
    """Return whether a value may end with "!".

    The original is then returned if it is smaller.
    """
    return _FORCE_SUFFIX_RE.search(expected) is not None
