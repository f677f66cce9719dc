"""The methods: formulas, nothing else. Importing this package fills the registry."""

from pellucid.methods.cam import (
    ablation_cam,
    cam,
    eigen_cam,
    grad_cam,
    grad_cam_elementwise,
    grad_cam_plus_plus,
    group_cam,
    hirescam,
    is_cam,
    layer_cam,
    opti_cam,
    random_cam,
    score_cam,
    ss_cam,
    xgrad_cam,
)
from pellucid.methods.gradient import input_x_gradient, saliency, smooth_grad
from pellucid.methods.path import integrated_gradients
from pellucid.methods.perturb import kernel_shap, lime, occlusion, partition_shap, rise
from pellucid.methods.registry import METHODS, Method, Option, get_method, parse

__all__ = [
    "METHODS",
    "Method",
    "Option",
    "ablation_cam",
    "cam",
    "eigen_cam",
    "get_method",
    "grad_cam",
    "grad_cam_elementwise",
    "grad_cam_plus_plus",
    "group_cam",
    "hirescam",
    "input_x_gradient",
    "integrated_gradients",
    "is_cam",
    "kernel_shap",
    "layer_cam",
    "lime",
    "occlusion",
    "opti_cam",
    "parse",
    "partition_shap",
    "random_cam",
    "rise",
    "saliency",
    "score_cam",
    "smooth_grad",
    "ss_cam",
    "xgrad_cam",
]
