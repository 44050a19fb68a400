"""ONNX: a graph with weights for onnxruntime."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.arch import Model
from designspace.errors import InputError, first_line
from designspace.export.identifiers import identifier
from designspace.export.target import block_ships
from designspace.export.verify import VerificationReport, compare_values, probe_image, versioned

if TYPE_CHECKING:
    import torch
    from torch import nn

# A protobuf file holds at most 2 GB.
LIMIT_BYTES = 2 * 10**9


def check_size(model: Model, with_weights: bool) -> None:
    """Raise if a single file can't hold the graph and its weights are only random.

    Raises:
        InputError: Random weights of over 2 GB.
    """
    size = 4 * model.params
    if size > LIMIT_BYTES and not with_weights:
        raise InputError(
            f"onnx: {model.name} has {size / 1e9:.1f} GB of weights; an ONNX file holds at most 2 "
            "GB, and random weights are not worth a second file; weights= writes both"
        )


def write_onnx(
    model: Model, network: "nn.Module", folder: Path, output: str = "logits"
) -> list[Path]:
    """Write the graph of a network in evaluation mode, for any batch size.

    Weights over 2 GB are written beside it, as external data.

    Args:
        model: The model.
        network: Its network.
        folder: Folder of the files.
        output: Name of the graph's output.

    Returns:
        The graph, and the file of its external data if there is one.

    Raises:
        InputError: onnx is not installed, or torch can't export the network.
    """
    import logging
    import warnings

    import torch

    path = folder / f"{identifier(model)}.onnx"
    side = model.skeleton.resolution
    external = 4 * model.params > LIMIT_BYTES
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval(),
                (torch.zeros(2, model.skeleton.channels, side, side),),
                None,
                input_names=["image"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                dynamo=True,
                verbose=False,
            )
    except ImportError:
        raise InputError(
            "onnx: needs onnx and onnxscript: pip install 'designspace-regnet[export]'"
        ) from None
    except Exception as error:  # of a block of one's own, which torch may be unable to export
        raise InputError(f"onnx: torch can't export {model.name}: {first_line(error)}") from error
    assert program is not None  # without a path, torch writes no file
    program.save(str(path), external_data=external)
    # A file of that name that lies there without `external` is an earlier graph's.
    return [path, path.with_name(f"{path.name}.data")] if external else [path]


def run_onnx(path: Path, image: "torch.Tensor") -> "torch.Tensor":
    """Run a graph with onnxruntime."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": image.numpy()})
    return torch.from_numpy(output)


def graph_layers(path: Path) -> list[tuple[int, int]]:
    """Return (output channels, groups) of each convolution of a graph, sorted."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    shapes: Mapping[str, tuple[int, ...]] = {
        array.name: tuple(array.dims) for array in graph.initializer
    }
    layers = []
    for node in graph.node:
        if node.op_type == "Conv":
            groups = {a.name: a.i for a in node.attribute}.get("group", 1)
            layers.append((shapes[node.input[1]][0], groups))
    return sorted(layers)


def verify_onnx(model: Model, network: "nn.Module", path: Path) -> VerificationReport:
    """Compare a graph's outputs and convolutions with those of the network it was written from.

    Only the outputs of a plugin's, which may convolve without a module, or twice with one.

    Raises:
        RuntimeError: They differ: a bug of ours.
    """
    import torch

    # Another number of images than the graph was traced with.
    image = probe_image(model, model.skeleton.resolution, count=3)
    with torch.no_grad():
        outputs = compare_values(network(image), run_onnx(path, image), "onnx")
    report = VerificationReport("onnx", versioned("onnxruntime"), (outputs,))
    if not block_ships(model):
        return report
    convolutions = sorted(
        (module.out_channels, module.groups)
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d)
    )
    if graph_layers(path) != convolutions:
        raise RuntimeError(f"{path}: its convolutions are not those of {model.name}")
    count = f"{len(convolutions)} convolutions with their channels and groups"
    return replace(report, checks=(count, *report.checks))
