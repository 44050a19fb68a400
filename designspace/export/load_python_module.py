"""Import the Python modules of exported models, and build their networks."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from designspace.arch import Model
from designspace.export.identifiers import identifier

if TYPE_CHECKING:
    from torch import nn


def rebuild(model: Model, folder: Path) -> "nn.Module":
    """Build a network with the function of its name in the written module."""
    name = identifier(model)
    return cast("nn.Module", getattr(load(folder / f"{name}.py"), name)())


def load(path: Path) -> ModuleType:
    """Import a written module by its path."""
    name = f"_designspace_export_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # timm's registry looks up an entry point's module by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module
