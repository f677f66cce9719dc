"""Metrics of the maps of four photographs: Pellucid and its peers, EfficientNet-Lite0 with its real weights.

.venv/bin/python benchmarks/metrics.py --runs 3 --out benchmarks/results/metrics.md

All are given the same maps, and the same parts, regions or segments to change. Quantus flips, and cuts into
parts, the channels of a pixel one by one; it takes only parts whose size divides a channel's pixels. `bare`
is the model alone on as many inputs as ours, 8 at once with channels last: the least that we can take in
float32.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import quantus
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from saliency.metrics import pic
from torch import Tensor, nn

import harness
import pellucid
from pellucid.measure import Maps, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.request import Request

PICTURES = ("sample:cat", "sample:coffee", "sample:astronaut", "sample:rocket")
if not hasattr(np, "trapz"):  # Quantus 0.6 and saliency 0.2 still call it by its name before NumPy 2.4
    np.trapz = np.trapezoid


class Case:
    """Four photographs, the classes predicted for them, and Grad-CAM's maps."""

    def __init__(self) -> None:
        self.model = pellucid.load()
        self.net: nn.Module = self.model.network
        found = pellucid.explain(self.model, list(PICTURES), method="grad-cam", progress=False)
        self.x: Tensor = self.model.prepare(list(PICTURES))
        self.maps: Tensor = found.attribution
        with torch.no_grad():
            self.classes: list[int] = self.net(self.x).argmax(1).tolist()

    def ours(self, spec: str, precision: Any = "float32", **options: Any) -> None:
        """One of our metrics of all four maps."""
        request = MetricRequest.of(spec, options)
        asked = [Maps(self.maps)]
        measure_all(
            self.model, self.x, asked, [request], target=self.classes, precision=precision, progress=False
        )

    def theirs(self, metric: Callable[..., Any], **options: Any) -> None:
        """Quantus, with all four pictures in a batch."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric(disable_warnings=True, **options)(
                model=self.net,
                x_batch=self.x.numpy(),
                y_batch=np.array(self.classes),
                a_batch=self.maps.numpy(),
                device="cpu",
            )

    def bare(self, passes: int) -> None:
        """As many passes of the model alone."""
        batch = self.x.repeat(2, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for start in range(0, passes, 8):
                self.net(batch[: min(8, passes - start)])

    def road_of_grad_cam(self) -> None:
        """pytorch-grad-cam, with all four pictures in a batch."""
        targets = [ClassifierOutputSoftmaxTarget(one) for one in self.classes]
        ROADCombined()(self.x, self.maps[:, 0].numpy(), targets, self.net)

    def sic_of_saliency(self) -> None:
        """The authors' code; pictures that it refuses cost it less."""
        pixels = ((self.x * 0.5 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        mask = pic.generate_random_mask(*pixels.shape[1:3])
        for picture, map, target in zip(pixels, self.maps[:, 0].numpy(), self.classes, strict=True):

            def scores(images: np.ndarray, target: int = target) -> list[float]:
                with torch.no_grad():
                    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
                    return self.net(batch).softmax(1)[:, target].tolist()

            shares = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75]
            pic.compute_pic_metric(picture, map, mask, scores, shares, min_pred_value=0.0)


def faithfulness(case: Case) -> dict[str, harness.Jobs]:
    """Metrics that remove, or show, parts of a picture."""
    values = case.x[0].numel()
    return {
        "pixel flipping, 28 parts": {
            "pellucid": partial(case.ours, "pixel-flipping:steps=28"),
            "pellucid, bfloat16": partial(case.ours, "pixel-flipping:steps=28", precision="bfloat16"),
            "Quantus": partial(case.theirs, quantus.PixelFlipping, features_in_step=values // 3 // 28),
            "bare": partial(case.bare, 4 * 29),
        },
        "region perturbation, 30 regions": {
            "pellucid": partial(case.ours, "region-perturbation:patch=8,regions=30"),
            "Quantus": partial(
                case.theirs, quantus.RegionPerturbation, patch_size=8, regions_evaluation=30, order="morf"
            ),
        },
        "faithfulness estimate, 24 parts": {
            "pellucid": partial(case.ours, "faithfulness-estimate:steps=24"),
            "Quantus": partial(case.theirs, quantus.FaithfulnessEstimate, features_in_step=values // 24),
        },
        "monotonicity correlation, 12 parts, 5 draws": {
            "pellucid": partial(case.ours, "monotonicity-correlation:steps=12,samples=5"),
            "Quantus": partial(
                case.theirs, quantus.MonotonicityCorrelation, features_in_step=values // 12, nr_samples=5
            ),
        },
        "once: ROAD, combined": {
            "pellucid": partial(case.ours, "road"),
            "pytorch-grad-cam": case.road_of_grad_cam,
        },
        "once: SIC": {"pellucid": partial(case.ours, "sic:rescaled=true"), "saliency": case.sic_of_saliency},
    }


AGAIN = "saliency"
"""The method of the maps that are made again, by captum for Quantus."""
DRAWN: dict[str, tuple[type, dict[str, Any]]] = {
    "max-sensitivity:samples=50": (quantus.MaxSensitivity, {"nr_samples": 50, "lower_bound": 0.02}),
    # 16 blocks of 56 by 56, ten times over
    "infidelity:samples=160,multiply_by_inputs=false,normalised=false": (
        quantus.Infidelity,
        {"perturb_patch_sizes": [56], "n_perturb_samples": 10},
    ),
    "faithfulness-correlation:samples=100": (
        quantus.FaithfulnessCorrelation,
        {"nr_runs": 100, "subset_size": 224, "perturb_baseline": 0.0, "return_aggregate": False},
    ),
    "mprt:steps=1000": (quantus.MPRT, {}),  # a step for each module that has weights
}
"""Metrics that draw numbers, and those of Quantus with as many draws."""
_ONCE = {"mprt:steps=1000": "once: mprt"}


def drawn(case: Case) -> dict[str, harness.Jobs]:
    """Metrics of saliency maps that draw perturbations or weights, most of which explain again."""
    maps = pellucid.explain(case.model, case.x, AGAIN, target=case.classes, progress=False).attribution

    def ours(spec: str) -> None:
        asked, requests = [Maps(maps, Request.of(AGAIN))], [MetricRequest.of(spec)]
        measure_all(case.model, case.x, asked, requests, target=case.classes, progress=False)

    def theirs(metric: Callable[..., Any], options: dict[str, Any]) -> None:
        quiet = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}
        metric(**quiet, **options)(
            case.net,
            case.x.numpy(),
            np.array(case.classes),
            maps.numpy(),
            device="cpu",
            channel_first=True,
            explain_func=quantus.explain,
            explain_func_kwargs={"method": "Saliency"},
        )

    return {
        _ONCE.get(spec, spec.partition(":")[0]): {
            "pellucid": partial(ours, spec),
            "Quantus": partial(theirs, *peer),
        }
        for spec, peer in DRAWN.items()
    }


def groups() -> Mapping[str, harness.Jobs]:
    """All metrics that have a peer."""
    case = Case()
    return {**faithfulness(case), **drawn(case)}


if __name__ == "__main__":
    harness.main(groups, once="once")
