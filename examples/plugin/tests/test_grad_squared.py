"""grad-squared against closed forms."""

import pytest
import torch
from torch import nn

import pellucid


def test_of_a_linear_model_it_is_the_squared_weights():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(2, 3, 4, 4)
    squares = net[1].weight.detach()[1].view(3, 4, 4) ** 2
    e = pellucid.explain(net, x, "grad-squared", target=1)
    torch.testing.assert_close(e.raw, squares.sum(0).expand(2, 4, 4))
    mean = pellucid.explain(net, x, "grad-squared:mean=true", target=1)
    torch.testing.assert_close(mean.raw, squares.mean(0).expand(2, 4, 4))


def test_of_a_square_it_is_four_times_the_squared_input():
    class Squared(nn.Module):
        def forward(self, x):
            return (x**2).sum((1, 2, 3))[:, None].expand(-1, 2)

    x = torch.rand(1, 3, 4, 4)
    e = pellucid.explain(Squared(), x, "grad-squared", target=0)
    torch.testing.assert_close(e.raw, (4 * x**2).sum(1))


def test_it_costs_one_pass_each_way():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
    cost = pellucid.explain(net, x, "grad-squared").cost
    assert (cost.forward, cost.backward) == (1, 1)


def test_a_wrong_option_is_refused():
    with pytest.raises(TypeError, match="mean must be true or false"):
        pellucid.explain(nn.Flatten(), torch.rand(1, 3, 4, 4), "grad-squared:mean=maybe")
