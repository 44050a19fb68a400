"""`imagenet=True`: a network gets ImageNet's input, and the stem and strides of its block."""

from dataclasses import replace

import pytest

import designspace as ds
from designspace.analysis.findings import analyze
from designspace.analysis.load_results import load_populations
from designspace.arch import Body, Model, Skeleton, published, unregister_block
from designspace.blocks.mbconv import BLOCK
from designspace.derivation.imagenet_skeleton import imagenet_skeleton
from designspace.errors import InputError
from designspace.runs import Run, Trial, TrialState


def first_of(space):
    return ds.sample(space, 1, seed=0)[0]


@pytest.mark.parametrize(
    "name",
    [
        *("MobileNetV2", "EfficientNet-B0", "ConvNeXt-T", "ConvNeXt-B", "ResNet-18", "ResNet-50"),
        *("RegNetX-400MF", "RegNetZ-500MF"),
    ],
)
def test_a_published_network_for_imagenet_stays_as_it_is(name):
    model = ds.derive(source=name, scale=1.0, imagenet=True)
    assert model.skeleton == published(name).skeleton
    assert (model.body, model.flops) == (published(name).body, published(name).flops)


@pytest.mark.parametrize("side", [128, 300])
def test_another_resolution_changes_neither_stem_nor_head(side):
    around = published("EfficientNet-B3").skeleton
    model = replace(published("EfficientNet-B3"), skeleton=replace(around, resolution=side))
    derived = ds.derive(source=model, scale=1.0, imagenet=True)
    assert derived.skeleton == replace(around, resolution=224)


@pytest.mark.parametrize(
    "space",
    [
        *("ConvNeXt-like", "MobileNetV2-like", "EfficientNet-like", "AnyNetXA", "AnyNetRA"),
        *("AnyNetVA", "AnyNetVRA", "AnyNetZA", "AnyNetXE-5stages", "RegNetY", "RegNetZ"),
    ],
)
@pytest.mark.parametrize("setting", ["@8", "@32"])
def test_networks_of_small_images_get_what_their_space_has_at_its_own_size(space, setting):
    source = first_of(space + setting)
    model = ds.derive(source=source, scale=1.0, imagenet=True)
    assert model.skeleton == ds.load_space(space).skeleton
    assert model.body == source.body
    # The stem of stride 1 is not kept where only the resolution was raised.
    raised = ds.derive(source=source.at(resolution=224), scale=1.0, imagenet=True)
    assert raised.skeleton == model.skeleton


def test_a_patch_stem_stays_as_wide_as_the_first_stage():
    around = Skeleton(32, 10, 40, 1, (1, 2, 2, 2), stem="patch")
    body = replace(published("ConvNeXt-T").body, widths=(40, 80, 160, 320))
    source = replace(published("ConvNeXt-T"), body=body, skeleton=around)
    model = ds.derive(source=source, scale=1.0, imagenet=True)
    assert model.skeleton == replace(published("ConvNeXt-T").skeleton, stem_width=40)


def test_the_step_says_what_it_has_and_other_options_come_on_top():
    model = ds.derive(
        source=first_of("MobileNetV2-like@32"), scale=1.0, imagenet=True, resolution=192, classes=7
    )
    assert model.derivation.steps[0] == (
        "For ImageNet: 192 pixels, 7 classes, conv3 stem of 32 channels and stride 2, strides of "
        "the stages 1 2 2 2 1 2 1, head of 1280 channels."
    )


def test_findings_of_a_block_get_its_stem(tmp_path):
    population = ds.sample("ConvNeXt-like@8", 8, seed=0)
    run = Run.create(tmp_path / "run", ds.load_space("ConvNeXt-like@8").source, population)
    run.append_trials(
        [
            Trial(id_, i, TrialState.COMPLETE, 20.0 + i, (), 1.0, 0)
            for i, id_ in enumerate(population.ids)
        ]
    )
    findings = analyze(load_populations([run.path]))
    model = ds.derive(source=findings, scale=1.0, imagenet=True)
    assert model.skeleton == ds.load_space("ConvNeXt-like").skeleton
    assert any("patch stem of 96 channels" in step for step in model.derivation.steps)


def test_without_rules_for_the_block_it_is_refused():
    ds.register_block(replace(BLOCK, name="own"))
    try:
        body = replace(published("MobileNetV2").body, block="own")
        small = Skeleton(32, 10, 16, 1, (1, 2, 2, 2, 1, 2, 1))
        source = replace(published("MobileNetV2"), body=body, skeleton=small)
        message = r"^imagenet has no stem and strides for 7 stages of own blocks, as MobileNetV2"
        with pytest.raises(InputError, match=message) as error:
            ds.derive(source=source, scale=1.0, imagenet=True)
        assert error.value.argument == "imagenet"
        kept = ds.derive(source=source, scale=1.0, resolution=224, classes=1000)
        assert kept.skeleton == replace(small, resolution=224, classes=1000)
        large = replace(small, resolution=224, stem_stride=2)
        model = ds.derive(source=replace(source, skeleton=large), scale=1.0, imagenet=True)
        assert model.skeleton == replace(large, classes=1000)
    finally:
        unregister_block("own")
    with pytest.raises(InputError, match="those of the findings are unknown; import"):
        imagenet_skeleton(None, "own", "the findings")


def test_another_number_of_stages_is_refused_with_what_to_pass(refused, tmp_path):
    extras = (("t", (1.0, 6.0)), ("k", (3.0, 3.0)))
    body = Body((1, 1), (16, 32), (1.0, 1.0), (1, 1), 0.0, "mbconv", extras, "relu6")
    path = tmp_path / "two.yaml"
    ds.load_model(Model("two", body, Skeleton(32, 10, 16, 1, (1, 2)))).save(path)
    words = ("derive", "--from", path, "--scale", 1, "--imagenet", "--out", tmp_path / "m.yaml")
    text = refused(*words)
    assert "--imagenet has no stem and strides for 2 stages of mbconv blocks, as two has" in text
    assert "only for 7 stages" in text
    assert "pass --resolution 224 and --classes 1000" in text
