"""The maps of a run for other programs: arrays, pictures, masks, archives."""

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from pellucid.engine.progress import showing
from pellucid.errors import InvalidValue, PellucidError
from pellucid.files import atomic_write, make_folder
from pellucid.grain import cells_of
from pellucid.images import Box, place
from pellucid.render.scale import top_share
from pellucid.runner.maps import decode_map

Format = Literal["npz", "png", "coco-masks", "webdataset"]
"""What a run is exported as."""

SHARD = 10_000
"""Samples of a tar."""


@runtime_checkable
class Exported(Protocol):
    """What is asked of a `Run`."""

    request: Mapping[str, Any]
    methods: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def done(self) -> int:
        """How many pictures have their rows."""

    def batches(self, columns: Any = None, filter: Any = None) -> Iterator[Any]:
        """The rows."""

    def explanation(self, id: int | str, method: str | None = None, target: str | None = None) -> Any:
        """One row as an `Explanation`."""


def export(
    run: Exported,
    to: str | os.PathLike[str],
    format: Format | str = "npz",
    *,
    filter: Any = None,
    share: float = 0.5,
    progress: bool | None = None,
) -> Path:
    """Writes the maps of a run, those that failed left out; memory holds some rows at a time.

    - "npz": a file for each row, `ROW-METHOD-TARGET.npz`, with `map` and what it is of.
    - "png": the evidence over the picture, which is read again from the source.
    - "coco-masks": one file in COCO's format, a mask for each row where the strongest evidence lies, as
      run-length encoding.
    - "webdataset": tars of 10,000 samples: `.npy` the map, `.json` the rest of the row, `.jpg` a thumbnail.

    Args:
        run: the run.
        to: a folder; for masks a file, such as `masks.json`.
        format: which of these.
        filter: which rows, as an Arrow expression.
        share: of the positive evidence that lies in a mask.
        progress: as for `explain`.

    Returns:
        Where it was written.

    Raises:
        InvalidValue: another format, or a run that keeps no maps.
        NotWritten: no room, no permission.
    """
    writers: dict[str, Callable[..., None]] = {
        "npz": _npz, "png": _png, "coco-masks": _masks, "webdataset": _tars,
    }  # fmt: skip
    if format not in writers:
        raise InvalidValue(f"format must be one of {', '.join(get_args(Format))}; got {format!r}.")
    if run.request["maps"] == "none":
        raise InvalidValue("The run must keep maps; it was made with maps='none'.")
    if not 0 < share <= 1:
        raise InvalidValue(f"share must be above 0 and up to 1; got {share}.")

    def rows() -> Iterator[dict[str, Any]]:
        for batch in run.batches(filter=filter):
            for row in batch.to_pylist():
                if row["map"] is not None:
                    yield row
                bar.advance(1)

    path = Path(to)
    total = run.done * len(run.methods) * len(run.targets)
    with showing(f"exporting {format}", total, progress) as bar:
        writers[format](run, rows(), path, share)
    return path


def _name(row: Mapping[str, Any]) -> str:
    words = re.sub(r"[^\w.=-]+", "-", f"{row['method']}-{row['target_asked']}")
    return f"{row['row']:09d}-{words}"


def _npz(run: Exported, rows: Iterator[dict[str, Any]], folder: Path, share: float) -> None:
    make_folder(folder)
    for row in rows:
        known = {"id": row["id"], "score": row["score"], "target": row["target_label"], "seen": row["seen"]}
        with atomic_write(folder / f"{_name(row)}.npz") as temporary:
            np.savez_compressed(temporary, map=decode_map(row).numpy(), **known)


def _png(run: Exported, rows: Iterator[dict[str, Any]], folder: Path, share: float) -> None:
    make_folder(folder)
    for row in rows:
        try:
            explained = run.explanation(row["row"], row["method"], row["target_asked"])
        except PellucidError as error:
            raise InvalidValue(f"{row['id']} cannot be drawn: {error}") from None
        explained.save(folder / f"{_name(row)}.png")


def _masks(run: Exported, rows: Iterator[dict[str, Any]], file: Path, share: float) -> None:
    """https://cocodataset.org/#format-data, with uncompressed run-length encoding."""
    images: dict[int, dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    for row in rows:
        size = (row["width"], row["height"])
        images[row["row"]] = {"id": row["row"], "file_name": row["id"], "width": size[0], "height": size[1]}
        values = decode_map(row)
        cells = cells_of(values)
        placed = place(cells, Box(*row["seen"]), size)
        mask = _top(np.nan_to_num(placed, nan=0.0), share)
        if not mask.any():
            continue
        down, across = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        annotations.append({
            "id": len(annotations) + 1,
            "image_id": row["row"],
            "category_id": categories.setdefault(row["target_label"], len(categories) + 1),
            "segmentation": {"size": [size[1], size[0]], "counts": run_lengths(mask)},
            "area": int(mask.sum()),
            "bbox": [
                int(across[0]), int(down[0]), int(across[-1] - across[0] + 1), int(down[-1] - down[0] + 1),
            ],
            "iscrowd": 0,
            "score": row["score"],
            "method": row["method"],
        })  # fmt: skip
    document = {
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(document), encoding="utf-8")


def _top(placed: np.ndarray, share: float) -> np.ndarray:
    import torch

    found: np.ndarray = top_share(torch.from_numpy(placed), share).numpy()
    return found


def run_lengths(mask: np.ndarray) -> list[int]:
    """How long the runs of 0 and 1 are, by turns, 0 first, down the columns: COCO's encoding.

    >>> run_lengths(np.array([[1, 0], [1, 1]]))
    [0, 2, 1, 1]
    """
    flat = mask.astype(bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff([0, *changes, len(flat)]).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths


def _tars(run: Exported, rows: Iterator[dict[str, Any]], folder: Path, share: float) -> None:
    """https://github.com/webdataset/webdataset: files of one key are one sample."""
    make_folder(folder)
    number = 0
    first = next(rows, None)
    while first is not None:
        with (
            atomic_write(folder / f"maps-{number:06d}.tar") as temporary,
            tarfile.open(temporary, "w") as tar,
        ):
            for count in range(1, SHARD + 1):
                _sample(tar, first)
                first = next(rows, None)
                if first is None or count == SHARD:
                    break
        number += 1


def _sample(tar: tarfile.TarFile, row: dict[str, Any]) -> None:
    array = io.BytesIO()
    np.save(array, decode_map(row).numpy())
    small = row.pop("thumbnail")
    rest = {name: value for name, value in row.items() if name not in ("map", "map_scale", "map_shape")}
    files = {"npy": array.getvalue(), "json": json.dumps(rest, default=str).encode()}
    if small:
        files["jpg"] = small
    key = _name(row).replace(".", "_")
    for suffix, data in files.items():
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
