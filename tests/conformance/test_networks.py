"""Every registered network keeps the contract; registering is testing.

Full-size members are followed on the meta device (shapes only), the smaller ones also in numbers.
"""

import copy
import functools
import re

import pytest
import torch

from echosweep.diffusion import FRAMEWORKS, Denoiser, denoising_loss
from echosweep.errors import UsageError
from echosweep.networks import NETWORKS, describe

SIZE, CLASSES = (16, 24), 3


@functools.cache
def on_meta(name, resolution, channels=1, out_channels=1):
    with torch.device("meta"):
        return NETWORKS[name](resolution, channels, out_channels, label_dim=CLASSES)


def parameters(name):
    return sum(p.numel() for p in on_meta(name, 64).parameters())


NUMERIC = [name for name in NETWORKS if parameters(name) < 5e6]


@functools.cache
def trained(name, factor=1):
    """A network whose last layers are no longer zero, as after training."""
    torch.manual_seed(0)
    network = NETWORKS[name](SIZE, 1, factor, label_dim=CLASSES, dropout=0.1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    return network.eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 1, *SIZE, generator=generator)
    return x, torch.tensor([-1.0, 0.0, 1.0]), torch.eye(CLASSES)


def test_every_architecture_has_a_preset_for_a_laptop():
    for family in {name.partition("-")[0] for name in NETWORKS}:
        assert 0.5e6 < parameters(f"{family}-tiny") < 3e6
        assert 10e6 < parameters(f"{family}-small") < 20e6


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(112, 112), (48, 80)])
def test_shapes(name, size):
    network = on_meta(name, size)
    x, labels = torch.empty(2, 1, *size, device="meta"), torch.empty(2, CLASSES, device="meta")
    assert network(x, torch.empty(2, device="meta"), labels).shape == x.shape
    assert network.num_attention_blocks == on_meta(name, 64).num_attention_blocks >= 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_framework_takes_every_network(name, framework):
    row = FRAMEWORKS[framework]
    denoiser = Denoiser(on_meta(name, 64, out_channels=row.out_channel_factor), row)
    assert denoiser.image_shape == (1, 64, 64)
    assert denoiser.label_dim == CLASSES
    with pytest.raises(UsageError, match=f"{framework} on images of 1 needs"):
        Denoiser(on_meta(name, 64, out_channels=3 - row.out_channel_factor), row)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_size_that_does_not_fit_is_refused_with_one_that_does(name):
    with pytest.raises(UsageError) as caught:
        on_meta(name, 31)
    for size in re.findall(r"(\d+)x\d+", str(caught.value))[1:]:
        assert on_meta(name, int(size)).resolution == (int(size), int(size))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NUMERIC)
def test_the_loss_reaches_every_parameter(name, framework, batch):
    row = FRAMEWORKS[framework]
    network = trained(name, row.out_channel_factor)
    denoiser = Denoiser(network, row)
    y, _, labels = batch
    draw = denoiser.draw_noise(y, torch.Generator().manual_seed(2))
    network.zero_grad()
    loss = denoising_loss(denoiser, y, *draw, labels)
    assert loss.shape == (3,)
    loss.mean().backward()
    for parameter_name, p in network.named_parameters():
        assert p.grad is not None, parameter_name
        assert p.grad.isfinite().all(), parameter_name
        assert p.grad.any(), parameter_name


@pytest.mark.parametrize("name", NUMERIC)
def test_a_clean_image_stays(name, batch):
    x, _, labels = batch
    denoiser = Denoiser(trained(name), FRAMEWORKS["edm"])
    with torch.no_grad():
        errors = [(denoiser(x, sigma, labels) - x).abs().mean() for sigma in (2e-4, 2e-3, 2e-2)]
    assert errors[0] < 1e-3
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("name", NUMERIC)
def test_output_depends_on_noise_level_and_label(name, batch):
    network, (x, c_noise, labels) = trained(name), batch
    with torch.no_grad():
        out = network(x, c_noise, labels)
        assert out.isfinite().all()
        assert (network(x, c_noise + 1, labels) - out).abs().mean() > 1e-4
        assert (network(x, c_noise, labels.roll(1, 0)) - out).abs().mean() > 1e-4
        zeros = torch.zeros_like(labels)
        assert torch.equal(network(x, c_noise), network(x, c_noise, zeros))


@pytest.mark.parametrize("name", NUMERIC)
def test_images_of_a_batch_do_not_see_each_other(name, batch):
    network = trained(name)
    with torch.no_grad():
        together = network(*batch)
        alone = torch.cat([network(*(t[i : i + 1] for t in batch)) for i in range(3)])
    torch.testing.assert_close(alone, together, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NUMERIC)
def test_bf16_and_channels_last(name, batch):
    network, (x, c_noise, labels) = trained(name), batch
    with torch.no_grad():
        out = network(x, c_noise, labels)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x, c_noise, labels).float()
        last = network.to(memory_format=torch.channels_last)
        strided = last(x.contiguous(memory_format=torch.channels_last), c_noise, labels)
        network.to(memory_format=torch.contiguous_format)
    assert half.isfinite().all()
    assert (half - out).square().mean() < (0.05 * out.std()) ** 2
    torch.testing.assert_close(strided, out, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NUMERIC)
def test_dropout_acts_in_training_alone(name, batch):
    network, (x, c_noise, labels) = trained(name), batch
    with torch.no_grad():
        out = network(x, c_noise, labels)
        assert torch.equal(network(x, c_noise, labels), out)
        assert not torch.equal(network.train()(x, c_noise, labels), out)
        assert torch.equal(network.eval()(x, c_noise, labels), out)


@pytest.mark.parametrize("name", NUMERIC)
def test_description(name):
    network = trained(name)
    facts = describe(network)
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert facts["attention_blocks"] == network.num_attention_blocks
    assert facts["multiply_adds"] > 1e6
    assert not any(p.is_meta for p in network.parameters())


@pytest.mark.parametrize("name", NUMERIC)
def test_state_dict_is_the_whole_network(name, batch):
    network, other = trained(name), copy.deepcopy(on_meta(name, SIZE)).to_empty(device="cpu")
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(other.eval()(*batch), network(*batch))
