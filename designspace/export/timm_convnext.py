"""timm's ConvNeXt: networks of convnext blocks with a patch stem.

It has four stages, widens blocks 4 times, gives the stem the first stage's width, and halves the
map before stages 2 to 4, and before stage 1 if the stem's stride is 2. Its patches leave out pixels
at the border where ours fill them up with zeros.
"""

from dataclasses import replace

from designspace.arch import Model, Skeleton
from designspace.errors import InputError
from designspace.export.timm_network import TimmNetwork, settings_code

_STAGES = 4
_EXPANSION = 4.0


def represent(model: Model) -> Model:
    """Return the nearest model that timm's ConvNeXt represents.

    Raises:
        InputError: There is none.
    """
    body, skeleton = model.body, model.skeleton
    if body.num_stages != _STAGES:
        raise InputError(
            f"timm builds ConvNeXts of {_STAGES} stages; {model.name} has {body.num_stages}"
        )
    skeleton = replace(
        skeleton,
        stem_width=body.widths[0],
        strides=(2 if skeleton.stem_stride == 2 else 1, 2, 2, 2),
        head_width=0,
    )
    extras = {**dict(body.extras), "t": (_EXPANSION,) * _STAGES}
    body = replace(body, extras=tuple(extras.items()))
    _check_patches(model.name, skeleton)
    return Model(model.name, body, skeleton, None, model.provenance)


def _check_patches(name: str, skeleton: Skeleton) -> None:
    """Raise where a map is no whole number of patches: its side is rounded up, and down by timm."""
    sides = (skeleton.resolution, *skeleton.stage_resolutions())
    strides = (skeleton.stem_stride, *skeleton.strides)
    for i, (side, stride) in enumerate(zip(sides, strides, strict=False)):
        if side % stride:
            raise InputError(
                f"timm's ConvNeXt leaves out pixels at the border where a map's side is not a "
                f"multiple of the stride, and {name} fills them up: the "
                f"{f'input of stage {i}' if i else 'image'} has a side of {side}, for stride "
                f"{stride}; a resolution that is a multiple of "
                f"{skeleton.stem_stride * 2 ** sum(s == 2 for s in skeleton.strides)} is exact"
            )


def code(model: Model) -> TimmNetwork:
    """Return the code of the network of the nearest model."""
    nearest = represent(model)
    body = nearest.body
    settings: dict[str, object] = {
        "depths": body.depths,
        "dims": body.widths,
        "kernel_sizes": tuple(int(k) for k in dict(body.extras)["k"]),
        "patch_size": nearest.skeleton.stem_stride,
        "act_layer": body.activation,
    }
    return TimmNetwork(
        "from timm.models.convnext import ConvNeXt",
        settings_code(settings),
        (
            'feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True}',
            "**(CFG | kwargs)",
        ),
    )
