"""The variables that a magic's line can name: as in Python, those of the function first.

IPython hands a magic only the notebook's variables. A prompt with
a global's text instead of the local's would be drawn and paid
for, so the frames of the functions around the magic are searched.
Where Python did not keep a variable, the name is refused.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType

from jupyter_mjci.errors import InvalidRequest

# Modules between the magic and the code that calls it.
_SKIPPED_MODULES = ("IPython.", "jupyter_mjci.")


_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Scope(Mapping[str, object]):
    """Variables by name: local ones, then those of enclosing functions, then the notebook's.

    Args:
        user_ns: the notebook's variables
        frames: the function that runs the magic, then the
            functions around it
        lost: whether a function around them is no longer running,
            so that its variables cannot be read
    """

    def __init__(
        self,
        user_ns: Mapping[str, object],
        frames: tuple[FrameType, ...] = (),
        lost: bool = False,
    ) -> None:
        self._user_ns = user_ns
        self._locals = [dict(frame.f_locals) for frame in frames]
        self._codes = [frame.f_code for frame in frames]
        self._lost = lost
        functions = [code.co_name for code in self._codes if code.co_name not in _COMPREHENSIONS]
        # "" at the top of a cell.
        self.function = functions[0] if functions else ""

    def __getitem__(self, name: str) -> object:
        for code, values in zip(self._codes, self._locals, strict=True):
            if name in values:
                return values[name]
            if name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
                raise InvalidRequest(
                    f"The variable {name!r} of {code.co_name} has no value yet.",
                    hint="Assign it before this line.",
                )
        if self._lost and name in _list_outer_names(self._codes[-1]):
            raise InvalidRequest(
                f"The variable {name!r} belongs to a function around {self.function}, and Python "
                "did not keep it.",
                hint=f"Pass it to {self.function} as an argument.",
            )
        return self._user_ns[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._user_ns, **{name: 0 for each in self._locals for name in each}})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def find_scope(user_ns: Mapping[str, object]) -> Scope:
    """Return the variables of the code that runs a magic.

    Code of imported modules counts as the top of a cell: it has
    its own ways to build a line.
    """
    frame = _find_calling_frame()
    frames: list[FrameType] = []
    while frame is not None and frame.f_globals is user_ns:
        if _is_top_level(frame, user_ns):
            return Scope(user_ns, tuple(frames))
        frames.append(frame)
        frame = _find_enclosing(frame)
    # The path of a function names those around it:
    # outer.<locals>.inner.
    around = frames[0].f_code.co_qualname.count("<locals>") if frames else -1
    return Scope(user_ns, tuple(frames), lost=around >= len(frames) > 0)


def _find_calling_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not f"{module}.".startswith(_SKIPPED_MODULES):
            return frame
        frame = frame.f_back
    return None


def _is_top_level(frame: FrameType, user_ns: Mapping[str, object]) -> bool:
    """Return whether a frame is that of a cell. Since Python 3.12
    the variable of a comprehension there is one more of its names.
    """
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return False
    return frame.f_locals is user_ns or set(user_ns) <= set(frame.f_locals)


def _find_enclosing(frame: FrameType) -> FrameType | None:
    """Return the running function that a frame's code is written in.

    Methods do not see the names of their class, so its body does
    not count.
    """
    outer = frame.f_back
    while outer is not None and not _contains(outer.f_code, frame.f_code):
        outer = outer.f_back
    return outer


def _contains(outer: CodeType, code: CodeType) -> bool:
    inner = [const for const in outer.co_consts if isinstance(const, CodeType)]
    return any(each is code or _contains(each, code) for each in inner)


def _list_outer_names(code: CodeType) -> set[str]:
    """Return the names that the functions around a function bind, from its cell's source."""
    source = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _surrounds(node, code):
            names.update(_iter_bound_names(node))
    return names


def _surrounds(node: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType) -> bool:
    last = node.end_lineno or node.lineno
    return node.lineno < code.co_firstlineno <= last


def _iter_bound_names(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
