"""VISSL: a YAML config to pretrain a trunk by SwAV with SEER's recipe
(arXiv 2103.01988, 2202.08360).

The projection head's input width follows the trunk. Trunks of 64GF and more get SEER's head of 8192
without BatchNorm, smaller ones 4096 with it. Trunks of two billion parameters and more use FSDP,
with activation checkpoints as in SEER 10B's public config.
"""

from typing import Any

from designspace.arch import Model
from designspace.derivation.scale_model import regime
from designspace.export.classyvision import trunk_config
from designspace.export.identifiers import describe, identifier
from designspace.export.target import Target
from designspace.io.yaml_files import dump_yaml

PROTOTYPES = 16_000
LARGE_HEAD_FLOPS = 60e9
_FSDP_PARAMS = 2e9
_BATCH, _NODES, _PER_NODE = 16, 64, 8
_TASK = "self_supervision_task"
_WARMUP = 8_000 / 122_070  # iterations of one pass over a billion images at batch 8192


def head_dims(model: Model) -> tuple[list[int], bool]:
    """Return the projection head's widths, from the trunk's last, and whether it has BatchNorm."""
    large = (regime(model) or model.at(resolution=224).flops) >= LARGE_HEAD_FLOPS
    hidden = 8192 if large else 4096
    return [model.body.widths[-1], hidden, hidden, 256], not large


def vissl_config(model: Model) -> dict[str, Any]:
    """Return the config as plain data, without the root key."""
    sharded = model.params >= _FSDP_PARAMS
    return {
        "VERBOSE": False,
        "SEED_VALUE": 0,
        "TEST_MODEL": False,
        "DATA": {"TRAIN": _data(model)},
        "TRAINER": {"TASK_NAME": "self_supervision_fsdp_task" if sharded else _TASK},
        "METERS": None,
        "MODEL": _model(model, sharded),
        "LOSS": _loss(),
        "OPTIMIZER": _optimizer(sharded),
        "DISTRIBUTED": {
            "BACKEND": "nccl",
            "NUM_NODES": _NODES,
            "NUM_PROC_PER_NODE": _PER_NODE,
            "RUN_ID": "auto",
        },
        "MACHINE": {"DEVICE": "gpu"},
        "CHECKPOINT": {"DIR": "checkpoints", "AUTO_RESUME": True, "CHECKPOINT_FREQUENCY": 1},
    }


def _model(model: Model, sharded: bool) -> dict[str, Any]:
    dims, use_bn = head_dims(model)
    keys = trunk_config(model)
    if sharded:
        keys["stage_checkpoints"] = [_checkpoints(depth) for depth in model.body.depths]
    suffix = "_fsdp" if sharded else ""
    head = {"dims": dims, "use_bn": use_bn, "num_clusters": [PROTOTYPES]}
    config: dict[str, Any] = {
        "TRUNK": {"NAME": f"regnet{suffix}", "REGNET": keys},
        "HEAD": {"PARAMS": [[f"swav_head{suffix}", head]]},
        "TEMP_FROZEN_PARAMS_ITER_MAP": [["module.heads.0.prototypes0.weight", 313]],
        "SYNC_BN_CONFIG": {
            "CONVERT_BN_TO_SYNC_BN": True,
            "SYNC_BN_TYPE": "pytorch",
            "GROUP_SIZE": _NODES,
        },
        "AMP_PARAMS": {"USE_AMP": True, "AMP_TYPE": "pytorch"},
        "ACTIVATION_CHECKPOINTING": {
            "USE_ACTIVATION_CHECKPOINTING": not use_bn,
            "NUM_ACTIVATION_CHECKPOINTING_SPLITS": model.body.num_stages,
        },
    }
    if sharded:
        config["FSDP_CONFIG"] = {
            "AUTO_WRAP_THRESHOLD": 100_000_000,
            "flatten_parameters": False,
            "mixed_precision": True,
            "fp32_reduce_scatter": False,
            "compute_dtype": "float16",
        }
    return config


def _checkpoints(depth: int) -> list[int]:
    """Last blocks of the checkpointed segments: two in a long stage, none for a single block."""
    if depth == 1:
        return []
    return [depth] if depth <= 8 else [(depth + 1) // 2, depth]


def _data(model: Model) -> dict[str, Any]:
    large = model.skeleton.resolution
    small = max(1, round(large * 96 / 224 / 4) * 4) if large >= 32 else max(1, round(large * 0.6))
    if large in (160, 224):  # SEER uses the same small crops for both
        small = 96
    return {
        "DATA_SOURCES": ["disk_folder"],
        "DATASET_NAMES": ["imagenet1k_folder"],
        "BATCHSIZE_PER_REPLICA": _BATCH,
        "LABEL_TYPE": "sample_index",
        "DROP_LAST": True,
        "COLLATE_FUNCTION": "multicrop_collator",
        "TRANSFORMS": [
            {
                "name": "ImgPilToMultiCrop",
                "total_num_crops": 6,
                "size_crops": [large, small],
                "num_crops": [2, 4],
                "crop_scales": [[0.14, 1.0], [0.05, 0.14]],
            },
            {"name": "RandomHorizontalFlip", "p": 0.5},
            {"name": "ImgPilColorDistortion", "strength": 1.0},
            {"name": "ImgPilGaussianBlur", "p": 0.5, "radius_min": 0.1, "radius_max": 2.0},
            {"name": "ToTensor"},
            {"name": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        ],
    }


def _loss() -> dict[str, Any]:
    swav = {
        "temperature": 0.1,
        "use_double_precision": False,
        "normalize_last_layer": True,
        "num_iters": 10,
        "epsilon": 0.05,
        "crops_for_assign": [0, 1],
        "temp_hard_assignment_iters": 0,
        "queue": {"queue_length": 0, "start_iter": 0},
    }
    return {"name": "swav_loss", "swav_loss": swav}


def _optimizer(sharded: bool) -> dict[str, Any]:
    peak = 0.3 * _BATCH * _NODES * _PER_NODE / 256
    lengths = [round(_WARMUP, 6), round(1 - round(_WARMUP, 6), 6)]
    return {
        "name": "sgd_fsdp" if sharded else "sgd",
        "use_larc": True,
        "larc_config": {"clip": False, "trust_coefficient": 0.001, "eps": 1.0e-8},
        "weight_decay": 1.0e-5,
        "momentum": 0.9,
        "nesterov": False,
        "num_epochs": 1,
        "regularize_bn": True,
        "regularize_bias": True,
        "param_schedulers": {
            "lr": {
                "auto_lr_scaling": {
                    "auto_scale": True,
                    "base_value": 0.3,
                    "base_lr_batch_size": 256,
                },
                "name": "composite",
                "schedulers": [
                    {"name": "linear", "start_value": 0.15, "end_value": peak},
                    {"name": "cosine", "start_value": peak, "end_value": peak / 1000},
                ],
                "update_interval": "step",
                "interval_scaling": ["rescaled", "fixed"],
                "lengths": lengths,
            }
        },
    }


def _files(model: Model) -> dict[str, str]:
    dims, use_bn = head_dims(model)
    about = (
        f"{describe(model)}\nSwAV by SEER's recipe: head {' '.join(map(str, dims))} "
        f"({'with' if use_bn else 'without'} BatchNorm), its input width that of the trunk; "
        f"batch {_BATCH * _NODES * _PER_NODE}.\nChange DATASET_NAMES, NUM_NODES and CHECKPOINT.DIR "
        "to your own; the learning rate follows the batch."
    )
    # Hydra reads its package from the first line.
    text = dump_yaml({"config": vissl_config(model)}, f"@package _global_\n{about}")
    return {f"{identifier(model)}.yaml": text}


VISSL = Target(
    name="vissl",
    files=_files,
    keys="vissl",
    weights=lambda model: f"{identifier(model)}.safetensors",
)
