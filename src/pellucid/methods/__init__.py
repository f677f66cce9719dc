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
from pellucid.methods.mask import (
    extremal_perturbation,
    i_gos,
    i_gos_plus_plus,
    meaningful_perturbation,
)
from pellucid.methods.path import blur_ig, guided_ig, integrated_gradients, xrai
from pellucid.methods.perturb import kernel_shap, lime, occlusion, partition_shap, rise
from pellucid.methods.registry import METHODS, Method, Option, get_method, parse

__all__ = [
    "METHODS",
    "Method",
    "Option",
    "ablation_cam",
    "blur_ig",
    "cam",
    "eigen_cam",
    "extremal_perturbation",
    "get_method",
    "grad_cam",
    "grad_cam_elementwise",
    "grad_cam_plus_plus",
    "group_cam",
    "guided_ig",
    "hirescam",
    "i_gos",
    "i_gos_plus_plus",
    "input_x_gradient",
    "integrated_gradients",
    "is_cam",
    "kernel_shap",
    "layer_cam",
    "lime",
    "meaningful_perturbation",
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
    "xrai",
]
