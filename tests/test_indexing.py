"""Some of the images of an explanation: numbers, slices, lists, masks."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pellucid

COUNT = 5


@pytest.fixture(scope="module")
def e():
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 3))
    x = torch.rand(COUNT, 3, 16, 16)
    return pellucid.explain(net, x, "rise", samples=8, target=[0, 1, 2, 1, 0])


INDICES = {
    "a slice": (slice(1, 4), [1, 2, 3]),
    "a step": (slice(None, None, 2), [0, 2, 4]),
    "backwards": (slice(None, None, -1), [4, 3, 2, 1, 0]),
    "an open end": (slice(3, 99), [3, 4]),
    "none": (slice(2, 2), []),
    "a list": ([3, -1, 3], [3, 4, 3]),
    "a mask": ([True, False, False, True, False], [0, 3]),
    "a tensor": (torch.tensor([2, 0]), [2, 0]),
    "a mask tensor": (torch.tensor([False, True, True, False, False]), [1, 2]),
    "an array": (np.array([4, -5]), [4, 0]),
    "a mask array": (np.arange(COUNT) > 2, [3, 4]),
    "a number": (-2, [3]),
    "a NumPy number": (np.int64(1), [1]),
    "a tensor's number": (torch.tensor(4), [4]),
}


@pytest.mark.parametrize("name", INDICES)
def test_every_kind_of_index_keeps_what_belongs_together(e, name):
    index, expected = INDICES[name]
    some = e[index]
    assert isinstance(some, pellucid.Explanation)
    assert len(some) == len(expected)
    for field in ("attribution", "raw", "score", "stderr"):
        assert torch.equal(getattr(some, field), getattr(e, field)[expected])
    assert torch.equal(some.details["samples"], e.details["samples"][expected])
    for field in ("target", "labels", "prediction", "pictures", "boxes", "notes"):
        assert getattr(some, field) == [getattr(e, field)[i] for i in expected]


def test_what_is_no_index_is_refused_in_a_sentence(e):
    for wrong in (COUNT, -COUNT - 1, [0, COUNT]):
        with pytest.raises(IndexError, match=r"index must be from -5 to 4, for 5 images; got -?[56]"):
            e[wrong]
    for wrong in (1.0, None, [0.5], True, torch.tensor([0.0])):
        with pytest.raises(IndexError, match=r"An index must be|A mask must have"):
            e[wrong]
    for wrong in ([True, False], [True, 1, 0, 0, 0], np.ones(4, bool)):
        with pytest.raises(IndexError, match="A mask must have one bool for each of 5 images"):
            e[wrong]


def test_names_are_indices(e):
    assert e.names == [f"image {i}" for i in range(COUNT)]
    assert "image 3;" in repr(e[3])
    assert e["image 3"].target == [1]
    assert e[["image 2", 0, "image 2"]].target == [2, 0, 2]
    assert e[np.array(["image 1", "image 4"])].target == [1, 0]
    twice = copy.copy(e)
    twice.pictures = [replace(one, name="same") for one in e.pictures[:2]] + e.pictures[2:]
    assert twice["same"].target == [0, 1]
    with pytest.raises(IndexError, match=r"that of a picture, such as image 3.*; got 'imgae 3'"):
        e["imgae 3"]


def test_iteration_copies_and_pickles(e):
    assert [one.target for one in e] == [[0], [1], [2], [1], [0]]
    for again in (pickle.loads(pickle.dumps(e[1:3])), copy.deepcopy(e[1:3]), copy.copy(e[1:3])):
        assert again.target == [1, 2]
        assert torch.equal(again.attribution, e.attribution[1:3])
        assert again[-1].labels == e[2].labels


def test_a_figure_is_nobodys_but_its_owners(e):
    from matplotlib import pyplot

    for _ in range(3):
        e[:1].plot()
    assert pyplot.get_fignums() == []
