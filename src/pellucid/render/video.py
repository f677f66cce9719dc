"""An optimised mask as a film: the evidence growing over the picture, what is left, and the scores."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter, ImageStat
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.errors import ExtraMissing
from pellucid.files import by_suffix
from pellucid.images import Box
from pellucid.render import heat
from pellucid.render.blocks import fitted
from pellucid.render.curves import Chart, curves
from pellucid.render.panel import Panel
from pellucid.render.text import cut, legible, typeface
from pellucid.render.words import percent

WIDTH = 960  # pixels of a frame
_MARGIN = 24
_TOP, _FOOT = 82, 44  # above and below the panels
_SIDE = (WIDTH - 4 * _MARGIN) // 3  # of each of three panels
_LOWEST = 216  # height of a chart beside pictures that are flat
_HELD = 2  # seconds that the last frame is shown
_BLUR = 0.064  # spread of the blur that stands for hidden parts, as a share of the picture's side
_FILLS = {"black": (0, 0, 0), "grey": (128, 128, 128), "white": (255, 255, 255)}
_INK, _QUIET = "#1a1a1a", "#5f6368"


def check_path(path: Path) -> None:
    """Refuses, before anything is run, a file that no film could be written to.

    Raises:
        InvalidValue: a suffix other than .mp4 and .gif.
        ExtraMissing: an .mp4, but no encoder is installed.
    """
    by_suffix(path, _KINDS)
    _check_encoder(path)


def _check_encoder(path: Path) -> None:
    if path.suffix.lower() == ".mp4":
        try:
            from imageio_ffmpeg import get_ffmpeg_exe

            get_ffmpeg_exe()
        except (ImportError, RuntimeError):
            raise ExtraMissing(
                "An .mp4 needs the package imageio-ffmpeg: pip install pellucid[video]. A .gif needs none."
            ) from None


def write(path: Path, panel: Panel) -> None:
    """Writes the course of one image's mask as a film, see `Film`: a writer for `files.save_by_suffix`.

    An .mp4 is H.264 in yuv420p, with the index in front, which plays everywhere and while it loads. A .gif
    repeats for ever. The last frame stays for two seconds.

    Raises:
        InvalidValue: another suffix.
        ExtraMissing: an .mp4, but no encoder is installed.
    """
    write_film(path, lambda most: Film(panel, most))


@runtime_checkable
class Frames(Protocol):
    """What a film is written of.

    Attributes:
        size: (width, height) of each frame in pixels, both even.
        rate: frames per second.
        steps: the steps that are shown, of which `last` is the last.
    """

    size: tuple[int, int]
    rate: int
    steps: list[int]
    last: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Image.Image]: ...

    def frame(self, step: int) -> Image.Image:
        """The frame of one step."""


def write_film(path: Path, make: Callable[[int], Frames]) -> None:
    """Writes the frames that `make` gives when it is told how many there may be; see `write`.

    Raises:
        InvalidValue: another suffix.
        ExtraMissing: an .mp4, but no encoder is installed.
    """
    write_frames, most = by_suffix(path, _KINDS)
    _check_encoder(path)
    write_frames(make(most), path)


def thinned(count: int, most: int) -> list[int]:
    """At most so many of 0 … count - 1, evenly, the first and the last among them.

    >>> thinned(4, 9), thinned(9, 4)
    ([0, 1, 2, 3], [0, 3, 5, 8])
    """
    shown = min(count, most)
    return [
        round(one) for one in torch.linspace(0, count - 1, shown, dtype=torch.float64, device="cpu").tolist()
    ]


def rate_of(count: int) -> int:
    """Frames per second of a film of so many: the longer, the faster."""
    return min(15, max(3, count // 8))


class Film:
    """The frames of one image's optimisation, drawn when asked for.

    Left, the evidence over the picture: what the mask hides, or, where a method's map is of what must stay,
    what it keeps; one scale of colours for all frames. In the middle the picture under the mask, as the model
    sees it: hidden parts in the baseline's colour, blurred if it is none. Right, the scores up to the step.

    Args:
        panel: the image, whose `trace` holds its "mask" (T, h, w) by step, and scores if they are known.
        most: a longer course is thinned out evenly; its first and last step are always shown.
    """

    def __init__(self, panel: Panel, most: int = 120) -> None:
        self.panel = panel
        self.masks: Float[Tensor, "T h w"] = panel.trace["mask"].detach().float().cpu()
        self.last = len(self.masks) - 1
        self.steps = thinned(len(self.masks), most)
        self.rate = rate_of(len(self.steps))
        self.keeps = keeps_evidence(panel)
        self.limit = float(self._evidence(self.masks).max()) or 1.0
        self.seen = _seen(panel)
        self.hidden = _hidden(self.seen, panel.options.get("baseline"))
        self.tall = max(self.seen.height, _LOWEST)
        lines = curves(panel.trace, panel.output)
        self.chart = Chart(lines, (_SIDE, self.tall)) if lines else None
        self.size = WIDTH, (_TOP + self.tall + _FOOT) // 2 * 2

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.frame(step) for step in self.steps)

    def frame(self, step: int) -> Image.Image:
        """The frame of one step."""
        mask = self.masks[step]
        size = self.seen.height, self.seen.width
        smooth = interpolate(mask[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        values = (self._evidence(mask) / self.limit).clamp(0, 1)
        whole = Box(0.0, 0.0, float(self.seen.width), float(self.seen.height))
        drawn = Image.new("RGB", self.size, "white")
        self._write_heading(drawn, step)
        about = "kept" if self.keeps else "hidden"
        kept = percent(float(mask.mean()))
        shown = [
            (heat.overlay(values, self.seen, whole), f"what is {about} (red: {percent(self.limit)})"),
            (
                Image.composite(self.seen, self.hidden, heat.opacity_mask(smooth.clamp(0, 1))),
                f"what is left: {kept} kept",
            ),
        ]
        if self.chart:
            loss = "loss" in self.chart.curves.lines
            shown.append((self.chart.draw(step), f"{'loss' if loss else self.panel.output} by step"))
        pen, font = ImageDraw.Draw(drawn), typeface(13, False)
        for place, (picture, caption) in enumerate(shown):
            left = _MARGIN + place * (_SIDE + _MARGIN)
            aside, above = (_SIDE - picture.width) // 2, (self.tall - picture.height) // 2
            drawn.paste(picture, (left + aside, _TOP + above))
            below = left + _SIDE / 2, _TOP + self.tall + 9
            pen.text(below, caption, fill=_QUIET, font=font, anchor="ma")
        return drawn

    def _write_heading(self, drawn: Image.Image, step: int) -> None:
        """What is explained, by which method and model, and how far it is."""
        e, pen = self.panel, ImageDraw.Draw(drawn)
        label, caption = legible(e.label), legible(" · ".join((e.method, e.model, e.name)))
        large, small = typeface(22, True, label), typeface(13, False, caption)
        count = f"step {step} of {self.last}"
        right = WIDTH - _MARGIN
        room = right - _MARGIN - large.getlength(count) - _MARGIN
        pen.text((_MARGIN, 16), cut(label, room, large), fill=_INK, font=large)
        pen.text((right, 16), count, fill=_INK, font=large, anchor="ra")
        pen.text((_MARGIN, 48), cut(caption, float(right - _MARGIN), small), fill=_QUIET, font=small)

    def _evidence(self, masks: Tensor) -> Tensor:
        return masks if self.keeps else 1 - masks


def keeps_evidence(panel: Panel) -> bool:
    """Whether the map is of what the last mask keeps, and not of what it hides: their correlation's sign."""
    mask = panel.trace["mask"][-1].detach().float().cpu()
    small = interpolate(panel.values[None, None], mask.shape, mode="bilinear", antialias=True)[0, 0]
    return bool(((mask - mask.mean()) * (small - small.mean())).sum() > 0)


def _seen(panel: Panel) -> Image.Image:
    """What the model saw of the picture, as large as a part of the frame."""
    box = panel.box
    edges = [round(edge) for edge in (box.left, box.top, box.right, box.bottom)]
    left, top = edges[:2]
    right, bottom = max(left + 1, edges[2]), max(top + 1, edges[3])
    return fitted(panel.rgb.crop((left, top, right, bottom)), _SIDE)


def _hidden(seen: Image.Image, baseline: object) -> Image.Image:
    """What stands for hidden parts: the baseline's colour, else the picture blurred."""
    if baseline == "mean":
        return Image.new("RGB", seen.size, tuple(map(round, ImageStat.Stat(seen).mean)))
    if isinstance(baseline, str) and baseline in _FILLS:
        return Image.new("RGB", seen.size, _FILLS[baseline])
    return seen.filter(ImageFilter.GaussianBlur(_BLUR * max(seen.size)))


def _write_mp4(film: Frames, path: Path) -> None:
    from imageio_ffmpeg import write_frames

    encoder = write_frames(
        str(path),
        film.size,
        fps=film.rate,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=None,
        macro_block_size=2,
        ffmpeg_log_level="error",
        # Colours said to be what they are: players guess otherwise, and reds turn orange.
        output_params=[
            "-crf", "17", "-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-colorspace", "bt709",
            "-movflags", "+faststart",
        ],
    )  # fmt: skip
    with closing(encoder):
        encoder.send(None)
        for frame in chain(film, repeat(film.frame(film.last), _HELD * film.rate)):
            encoder.send(frame.tobytes())


def _write_gif(film: Frames, path: Path) -> None:
    # One palette for all frames, from a few of their pixels: with one each, what stands still would flicker.
    few = [*film.steps[:: max(1, len(film) // 6)], film.last]
    width, height = film.size[0] // 4, film.size[1] // 4
    sample = Image.new("RGB", (width, height * len(few)))
    for place, step in enumerate(few):
        sample.paste(film.frame(step).resize((width, height), Image.Resampling.NEAREST), (0, place * height))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in film)
    shown = [10 * round(100 / film.rate)] * len(others) + [1000 * _HELD]  # in whole hundredths of a second
    first.save(path, "GIF", save_all=True, append_images=others, duration=shown, loop=0)


# Of each kind its writer, and how many frames it has at most.
_KINDS: dict[str, tuple[Callable[[Frames, Path], None], int]] = {
    ".mp4": (_write_mp4, 120),
    ".gif": (_write_gif, 40),
}
SUFFIXES = tuple(_KINDS)
