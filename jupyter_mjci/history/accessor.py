"""Register `df.mjci` with pandas, at no cost until pandas is there and the accessor is used.

Importing pandas takes half a second, so `import jupyter_mjci` does
not import it. Where pandas is imported later, the accessor is
registered at the end of that import.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.history.analysis import JobAccessor


def register_accessor() -> None:
    """Register `df.mjci` now, or when pandas is imported."""
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        _register(pandas)
    elif not any(isinstance(finder, _PandasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PandasFinder())


def _register(pandas: ModuleType) -> None:
    if "mjci" not in vars(pandas.DataFrame):
        pandas.api.extensions.register_dataframe_accessor("mjci")(_open_accessor)


def _open_accessor(frame: pd.DataFrame) -> JobAccessor:
    from jupyter_mjci.history.analysis import JobAccessor

    return JobAccessor(frame)


class _PandasFinder:
    """Wait for the import of pandas, then step aside."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != "pandas":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            execute = loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            # Only of this instance, which loads pandas and
            # nothing else.
            loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
