"""Encoders: published parameter counts, strides, memory formats, sane activations at the start."""

import pytest
import torch

from face3d.networks.backbone import (
    BackboneConfig,
    build_backbone,
    mobilenet_fused,
    mobilenet_v3_small,
    resnet50,
    round_channels,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_published_ones():
    # torchvision: mobilenet_v3_small 2,542,856 less its classifier 1,615,848; resnet50 25,557,032 less 2,049,000
    assert count(mobilenet_v3_small()) == 927_008
    assert count(resnet50()) == 23_508_032


def test_parameter_count_of_our_own():
    assert count(mobilenet_fused()) == 1_928_416


CONFIGS = [
    BackboneConfig(),
    BackboneConfig(width=0.5),
    BackboneConfig("mobilenet_v3_small"),
    BackboneConfig("mobilenet_v3_small", 0.5),
    BackboneConfig("resnet50"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_strides_and_channels(config):
    torch.manual_seed(0)
    backbone = build_backbone(config).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 64, 96))
    for feature, stride, channels in zip(features, (8, 16, 32), backbone.channels, strict=True):
        assert feature.shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("build", [mobilenet_fused, mobilenet_v3_small, resnet50])
def test_channels_last_gives_the_same(build):
    torch.manual_seed(0)
    backbone, images = build().eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(images)
        got = backbone.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("build", [mobilenet_fused, mobilenet_v3_small, resnet50])
def test_fresh_networks_neither_vanish_nor_explode(build):
    torch.manual_seed(0)
    features = build().train()(torch.rand(4, 3, 64, 64))
    loss = sum(f.square().mean() for f in features)
    loss.backward()
    assert 1e-3 < float(features.stride32.detach().std()) < 1e2


def test_unknown_configurations_are_refused():
    with pytest.raises(ValueError, match="no backbone"):
        build_backbone(BackboneConfig("resnet50", 0.5))


def test_round_channels():
    assert [round_channels(x) for x in (3.0, 16.0, 24 * 0.5, 72 * 0.75, 40 * 0.5)] == [8, 16, 16, 56, 24]
