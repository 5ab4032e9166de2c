import pytest
import torch
from torch import nn

from agents.nn import ConvNet, SquashDims


def test_without_arguments_it_is_that_of_nature():
    net = ConvNet(4, activation_class=nn.ReLU)
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (32, 8, 4),
        (64, 4, 2),
        (64, 3, 1),
    ]
    images = torch.randn(2, 4, 84, 84)
    expected = images
    for convolution in convolutions:
        expected = convolution(expected).relu()
    assert torch.equal(net(images), expected.flatten(1))
    assert expected.flatten(1).shape == (2, 3136)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_keeps_batch_dimensions(batch):
    net = ConvNet(3, num_cells=[4, 5], kernel_sizes=[3, (2, 1)], strides=[2, 1], paddings=[1, 0])
    images = torch.randn(*batch, 3, 8, 6)
    expected = net[:-1](images.reshape(-1, 3, 8, 6)).reshape(*batch, -1)
    torch.testing.assert_close(net(images), expected)


def test_options_of_layers():
    net = ConvNet(
        depth=2,
        num_cells=4,
        activation_class=nn.LeakyReLU,
        activation_kwargs={"negative_slope": 0.5},
        norm_class=nn.BatchNorm2d,
        norm_kwargs={"eps": 0.1},
        bias_last_layer=False,
        dtype=torch.float64,
    )
    net(torch.randn(2, 3, 7, 7, dtype=torch.float64))
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 2 + [SquashDims]
    assert [type(layer) for layer in net] == kinds
    assert (net[1].num_features, net[1].eps, net[2].negative_slope) == (4, 0.1, 0.5)
    assert net[0].bias is not None
    assert net[3].bias is None
    assert all(p.dtype is torch.float64 for p in net.parameters())


def test_aggregators():
    images = torch.randn(5, 3, 6, 6)
    assert ConvNet(depth=1, aggregator_class=None)(images).shape == (5, 32, 4, 4)
    pooled = ConvNet(depth=1, aggregator_class=nn.AdaptiveAvgPool2d, aggregator_kwargs={"output_size": 1})
    assert pooled(images).shape == (5, 32, 1, 1)
    squeezed = ConvNet(
        depth=1, aggregator_class=nn.AdaptiveAvgPool2d, aggregator_kwargs={"output_size": 1}, squeeze_output=True
    )
    assert squeezed(images[:1]).shape == (1, 32)


def test_layers_must_agree_in_number():
    with pytest.raises(ValueError, match=r"one number of layers, found \{'num_cells': 2, 'strides': 3\}"):
        ConvNet(num_cells=[1, 2], strides=[1, 1, 1])
    with pytest.raises(ValueError, match="'depth': 3"):
        ConvNet(depth=3, kernel_sizes=[1, 2])


def test_images_have_three_dimensions():
    with pytest.raises(ValueError, match=r"channels, height, width\], found \[8, 8\]"):
        ConvNet(3)(torch.zeros(8, 8))
