"""Names of other libraries, so that who types one is told the name that it has here."""

import re
from collections.abc import Container, Iterable

OPTIONS = {
    # pytorch-grad-cam
    "target_layers": "layer", "target_layer": "layer", "reshape_transform": "layout", "targets": "target",
    "target_category": "target", "aug_smooth": "augment", "eigen_smooth": "principal",
    "use_cuda": "", "uses_gradients": "",
    # captum
    "n_steps": "steps", "n_samples": "samples", "nt_samples": "smooth", "stdevs": "noise",
    "nt_type": "smooth_statistic", "nt_samples_batch_size": "batch_size", "internal_batch_size": "batch_size",
    "perturbations_per_eval": "batch_size", "baselines": "baseline", "baseline_dists": "references",
    "sliding_window_shapes": "window", "strides": "stride", "feature_mask": "segments",
    "relu_attributions": "signed", "additional_forward_args": "forward_kwargs", "method": "quadrature",
    "attribute_to_layer_input": "layer", "show_progress": "progress", "similarity_func": "width",
    "interpolate_mode": "",
    # shap, lime, RISE, Quantus, tf-keras-vis, torchcam, xplique
    "nsamples": "samples", "num_samples": "samples", "n_masks": "samples", "nb_samples": "samples",
    "background": "references", "ranked_outputs": "target", "hide_color": "baseline", "labels": "target",
    "top_labels": "target", "segmentation_fn": "segments", "random_seed": "seed", "random_state": "seed",
    "gpu_batch": "batch_size", "nb_steps": "steps", "class_idx": "target", "input_size": "",
    "penultimate_layer": "layer", "score": "target",
    # zennit, innvestigate
    "canonizers": "", "canonizer": "", "attributor": "",
}  # fmt: skip
"""An option of another library -> what it is called here; "" for one that is not needed here."""

VERBS = ("target", "batch_size", "progress", "forward_kwargs", "seed", "output", "precision")
"""What `explain` itself takes, whatever the method."""

METHODS = {
    "layer-grad-cam": "grad-cam", "grad-cam-plus-plus": "grad-cam++", "noise-tunnel": "smooth-grad",
    "lime-base": "lime", "lime-image-explainer": "lime", "kernel-explainer": "kernel-shap",
    "gradient-explainer": "gradient-shap", "partition-explainer": "partition-shap",
    "deep-explainer": "deep-shap", "deep-lift-shap": "deep-shap", "vanilla-gradient": "saliency",
    "gradient": "saliency", "deconvolution": "deconvnet", "chefer": "transformer-attribution",
    "rollout": "attention-rollout",
}  # fmt: skip
"""A method's name elsewhere -> the method here, where spelling does not tell."""


def option_named(name: str, known: Container[str]) -> str:
    """A sentence on an option of another library: what it is here. Empty where it is not known.

    Example:
        >>> option_named("n_steps", {"steps"})
        'That is steps= here.'
    """
    here = OPTIONS.get(name)
    if here is None:
        return ""
    if not here:
        return f"{name} is not needed here: it is found out."
    if here in VERBS and here not in known:
        return f"That is {here}= of explain here."
    return f"That is {here}= here." if here in known else ""


def method_named(name: str, known: Iterable[str]) -> str | None:
    """The method here that another library's class or function stands for, if one does.

    Example:
        >>> method_named("GradCAMPlusPlus", ["grad-cam", "grad-cam++"]), method_named("Nothing", ["lime"])
        ('grad-cam++', None)
    """
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().replace("_", "-")
    by_letters = {_letters(one): one for one in known}
    found = METHODS.get(kebab, kebab)
    return by_letters.get(_letters(found))


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "+")
