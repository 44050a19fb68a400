"""TorchScript: a traced network with weights, which C++ and torch.jit.load run without Python code.

torch deprecates it in favor of torch.export; it stays for deployments that need it.
"""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.arch import Model
from designspace.errors import InputError, first_line
from designspace.export.identifiers import identifier
from designspace.export.verify import VerificationReport, compare_values, probe_image, versioned
from designspace.io.atomic_write import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_torchscript(model: Model, network: "nn.Module", folder: Path) -> Path:
    """Write the traced network in evaluation mode, for any batch size.

    Raises:
        InputError: torch can't trace the network.
    """
    import torch

    path, content = folder / f"{identifier(model)}.pt", io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        image = _image(model)[:1]
        try:
            traced = torch.jit.trace(network.eval(), image, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, content)
        except Exception as error:  # of a block of one's own, which torch may be unable to trace
            raise InputError(
                f"torchscript: torch can't trace {model.name}: {first_line(error)}"
            ) from error
    write_bytes(path, content.getvalue())
    return path


def _image(model: Model) -> "Tensor":
    """Seeded images of the model's resolution: what depends on it is traced as it is there."""
    return probe_image(model, model.skeleton.resolution)


def verify_torchscript(model: Model, network: "nn.Module", path: Path) -> VerificationReport:
    """Compare the outputs of a written network with those of the one it was traced from.

    Raises:
        RuntimeError: They differ: a bug of ours.
    """
    import torch

    image = _image(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        outputs = compare_values(network.eval()(image), loaded(image), "torchscript")
    return VerificationReport("torchscript", versioned("torch"), (outputs,))
