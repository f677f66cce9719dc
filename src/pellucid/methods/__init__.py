"""The methods: formulas, nothing else. Importing this package fills the registry."""

from pellucid.methods.cam import (
    cam,
    eigen_cam,
    grad_cam,
    grad_cam_elementwise,
    grad_cam_plus_plus,
    hirescam,
    layer_cam,
    random_cam,
    xgrad_cam,
)
from pellucid.methods.gradient import input_x_gradient, saliency, smooth_grad
from pellucid.methods.perturb import rise
from pellucid.methods.registry import METHODS, Method, Option, get_method, parse

__all__ = [
    "METHODS",
    "Method",
    "Option",
    "cam",
    "eigen_cam",
    "get_method",
    "grad_cam",
    "grad_cam_elementwise",
    "grad_cam_plus_plus",
    "hirescam",
    "input_x_gradient",
    "layer_cam",
    "parse",
    "random_cam",
    "rise",
    "saliency",
    "smooth_grad",
    "xgrad_cam",
]
