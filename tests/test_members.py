"""Networks side by side are what they are alone."""

import pickle

import pytest
import torch

from nonparam.kernels import InfiniteNetwork
from nonparam.networks import members as module
from nonparam.networks.finite import FiniteNetwork
from nonparam.networks.members import Members

X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


def networks(count=3, **options):
    kernel = InfiniteNetwork("relu-2", center=0.0, spread=1.0)
    return [FiniteNetwork(kernel, 3, 5, outputs=2, seed=seed, **options).float() for seed in range(count)]


def weights_of(network):
    return torch.cat([value.detach().reshape(-1) for value in network.parameters()])


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_outputs_and_weights_are_those_of_each_network(parameterization):
    each = networks(parameterization=parameterization)
    members = Members(each)
    expected = torch.stack([network(X) for network in each])
    torch.testing.assert_close(members(X), expected)
    torch.testing.assert_close(members.flat(), torch.stack([weights_of(network) for network in each]))
    assert (members.count, members.size) == (3, 15 + 5 + 25 + 5 + 10 + 2)
    torch.testing.assert_close(members.one(weights_of(each[2]), X), expected[2])


def test_rows_of_its_own_for_each_network():
    each, rows = networks(), torch.randn(3, 4, 3)
    found = Members(each)(rows)
    torch.testing.assert_close(found, torch.stack([n(x) for n, x in zip(each, rows, strict=True)]))


def test_other_weights_leave_the_members_as_they_are():
    members, other = Members(networks()), Members(networks(6)[3:])
    before = members.flat()
    torch.testing.assert_close(members.at(other.flat(), X), other(X))
    torch.testing.assert_close(members.outputs(X, other.flat()), other(X).double().detach())
    torch.testing.assert_close(members.flat(), before, rtol=0.0, atol=0.0)
    torch.testing.assert_close(members.assign(other.flat())(X), other(X))


def test_weights_that_are_returned_are_a_copy():
    members = Members(networks())
    flat = members.flat()
    members.assign(flat + 1.0)
    assert not torch.equal(flat, members.flat())


@pytest.mark.parametrize("own_rows", [False, True])
def test_outputs_in_parts_are_those_at_once(monkeypatch, own_rows):
    members = Members(networks())
    rows = torch.randn(3, 7, 3) if own_rows else X
    expected = members(rows).double()
    monkeypatch.setattr(module, "CHUNK", 3 * 25 * 2)
    found = members.outputs(rows)
    assert found.dtype == torch.float64 and not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-6)


def test_training_reaches_every_weight_and_the_form_keeps_its_own():
    each = networks()
    start = weights_of(each[0])
    members = Members(each)
    members(X).square().sum().backward()
    assert all(bool(value.grad.abs().sum() > 0.0) for value in members.parameters())
    members.assign(members.flat() + 1.0)
    torch.testing.assert_close(weights_of(each[0]), start)


def test_pickle():
    members = Members(networks())
    torch.testing.assert_close(pickle.loads(pickle.dumps(members))(X), members(X))
