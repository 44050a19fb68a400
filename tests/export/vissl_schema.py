"""The documented keys of a VISSL pretraining config, as far as we write them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Trunk(_Strict):
    NAME: Literal["regnet", "regnet_fsdp"]
    REGNET: dict[str, Any]


class _HeadParams(_Strict):
    dims: list[int] = Field(min_length=2)
    use_bn: bool
    num_clusters: list[int] = Field(min_length=1)


# YAML has no tuples: a name and its parameters stand in a list of two.
_NamedHead = Annotated[
    tuple[Literal["swav_head", "swav_head_fsdp"], _HeadParams], Field(strict=False)
]


class _Head(_Strict):
    PARAMS: list[_NamedHead] = Field(min_length=1)


class _SyncBn(_Strict):
    CONVERT_BN_TO_SYNC_BN: bool
    SYNC_BN_TYPE: Literal["pytorch", "apex"]
    GROUP_SIZE: int


class _Amp(_Strict):
    USE_AMP: bool
    AMP_TYPE: Literal["pytorch", "apex"]


class _Checkpointing(_Strict):
    USE_ACTIVATION_CHECKPOINTING: bool
    NUM_ACTIVATION_CHECKPOINTING_SPLITS: int = Field(ge=1)


class _Fsdp(_Strict):
    AUTO_WRAP_THRESHOLD: int
    flatten_parameters: bool
    mixed_precision: bool
    fp32_reduce_scatter: bool
    compute_dtype: Literal["float16", "float32"]


class _Model(_Strict):
    TRUNK: _Trunk
    HEAD: _Head
    TEMP_FROZEN_PARAMS_ITER_MAP: list[list[str | int]]
    SYNC_BN_CONFIG: _SyncBn
    AMP_PARAMS: _Amp
    ACTIVATION_CHECKPOINTING: _Checkpointing
    FSDP_CONFIG: _Fsdp | None = None


class _Train(_Strict):
    DATA_SOURCES: list[str]
    DATASET_NAMES: list[str]
    BATCHSIZE_PER_REPLICA: int = Field(ge=1)
    LABEL_TYPE: Literal["sample_index"]
    DROP_LAST: bool
    COLLATE_FUNCTION: Literal["multicrop_collator"]
    TRANSFORMS: list[dict[str, Any]]


class _Data(_Strict):
    TRAIN: _Train


class _Queue(_Strict):
    queue_length: int
    start_iter: int


class _Swav(_Strict):
    temperature: float
    use_double_precision: bool
    normalize_last_layer: bool
    num_iters: int
    epsilon: float
    crops_for_assign: list[int]
    temp_hard_assignment_iters: int
    queue: _Queue


class _Loss(_Strict):
    name: Literal["swav_loss"]
    swav_loss: _Swav


class _Larc(_Strict):
    clip: bool
    trust_coefficient: float
    eps: float


class _Scaling(_Strict):
    auto_scale: bool
    base_value: float
    base_lr_batch_size: int


class _Schedule(_Strict):
    name: Literal["linear", "cosine"]
    start_value: float
    end_value: float


class _Lr(_Strict):
    auto_lr_scaling: _Scaling
    name: Literal["composite"]
    schedulers: list[_Schedule]
    update_interval: Literal["step", "epoch"]
    interval_scaling: list[Literal["rescaled", "fixed"]]
    lengths: list[float]

    @model_validator(mode="after")
    def _check(self) -> "_Lr":
        if abs(sum(self.lengths) - 1) > 1e-9:
            raise ValueError("lengths must sum to 1")
        return self


class _Schedulers(_Strict):
    lr: _Lr


class _Optimizer(_Strict):
    name: Literal["sgd", "sgd_fsdp"]
    use_larc: bool
    larc_config: _Larc
    weight_decay: float
    momentum: float
    nesterov: bool
    num_epochs: int
    regularize_bn: bool
    regularize_bias: bool
    param_schedulers: _Schedulers


class _Distributed(_Strict):
    BACKEND: Literal["nccl", "gloo"]
    NUM_NODES: int = Field(ge=1)
    NUM_PROC_PER_NODE: int = Field(ge=1)
    RUN_ID: str


class _Trainer(_Strict):
    TASK_NAME: Literal["self_supervision_task", "self_supervision_fsdp_task"]


class _Machine(_Strict):
    DEVICE: Literal["gpu", "cpu"]


class _Checkpoint(_Strict):
    DIR: str
    AUTO_RESUME: bool
    CHECKPOINT_FREQUENCY: int


class _Config(_Strict):
    VERBOSE: bool
    SEED_VALUE: int
    TEST_MODEL: bool
    DATA: _Data
    TRAINER: _Trainer
    METERS: None
    MODEL: _Model
    LOSS: _Loss
    OPTIMIZER: _Optimizer
    DISTRIBUTED: _Distributed
    MACHINE: _Machine
    CHECKPOINT: _Checkpoint


class VisslFile(_Strict):
    """A VISSL config behind `# @package _global_`."""

    config: _Config
