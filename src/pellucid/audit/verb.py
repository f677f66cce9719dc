"""The verb `audit`: what a model looks at across a data set, and whether it is a shortcut."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.audit.clusters import sklearn
from pellucid.audit.collecting import COLUMNS, Collector
from pellucid.audit.core import PICTURES, PROOFS, Settings, audit_evidence
from pellucid.audit.findings import check_positive
from pellucid.audit.record import Audit
from pellucid.errors import InvalidValue, short_traceback
from pellucid.images import Picture
from pellucid.model import Model
from pellucid.models import load
from pellucid.runner.loading import ModelSource
from pellucid.runner.results import Run, open_run
from pellucid.runner.run import run

PER_CLASS = 400
"""Pictures of a class that are drawn, unless said."""


@short_traceback
def audit(
    source: Any,
    model: Model | nn.Module | Callable[[Tensor], Any] | str | ModelSource | None = None,
    *,
    method: str | None = None,
    classes: Sequence[int | str] | None = None,
    grid: int = 16,
    per_class: int = PER_CLASS,
    proofs: int = PROOFS,
    pictures: int = PICTURES,
    store: str | os.PathLike[str] | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    umap: bool | None = None,
    progress: bool | None = None,
) -> Audit:
    """Looks for shortcuts in a run: clusters of evidence by class, the most suspicious proven.

    The maps of each class are brought onto one grid and clustered. Clusters are ranked by how much more their
    evidence agrees in place than that of other classes. In the region where it does, the picture is hidden
    and, elsewhere, put into pictures of other classes; what that changes, against as much of the picture
    elsewhere, says whether the model uses it. A shortcut is what the model uses, and is the same in the
    cluster's pictures to the pixel, or lies outside the boxes of objects. A class whose objects always lie in
    one place is told as a position bias.

    Args:
        source: a `Run`, or its folder; or what `pellucid.run` takes as a source, which is explained first.
        model: that was explained; may be left out where the run knows a name for it.
        method: the title of the method whose maps are read; None for the run's first. Of a source that is
            explained first, the method; None for Grad-CAM.
        classes: which are audited, by number or name; None for all.
        grid: cells along a side.
        per_class: the most pictures of each class, drawn at random.
        proofs: how many regions are proven; 0 for none, which needs no model.
        pictures: with how many pictures of a cluster.
        store: where the run of a source that is explained first is kept; None to keep none.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        umap: whether UMAP places pictures in the plane; None if it is installed.
        progress: as for `run`.

    Returns:
        An `Audit`: `.findings`, `.classes`, `.clusters`; `.save("audit.html")`, .json or .parquet.

    Raises:
        InvalidValue: the run keeps no maps, has no such method, or no picture with evidence; no model where
            one is needed, or another than was explained.
        ExtraMissing: scikit-learn or pyarrow is not installed.
        FileMissing: there is no such run or source.

    Cost:
        47 forward passes for each picture with which a region is proven, about 1,200 for each region. The
        rows are read once; memory does not grow with the run.

    Source:
        Lapuschkin et al. 2019, Nat. Commun. 10 (clusters of maps); what proves a region is Pellucid's own.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
        >>> weight = torch.zeros(2, 16, 16)
        >>> weight[0] = 0.1
        >>> weight[1, 12:, 12:] = torch.eye(4)                      # class 1 is a sign in the corner
        >>> net[1].weight.data = weight.flatten(1)
        >>> x = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> x[::2, :, 12:, 12:] = 4 * torch.eye(4)
        >>> a = audit(x, net, method="input-x-gradient", progress=False)
        >>> a.findings[0].kind, a.findings[0].name
        ('shortcut', 'class 1')
    """
    sklearn()  # before anything is explained
    check_positive(grid=grid, per_class=per_class)
    with ExitStack() as stack:
        made = _run_of(source, model, method, store, seed, batch_size, progress, stack)
        title = _method(made, method if _is_run(source) else None)
        loaded = _model(made, model) if proofs else None
        found = Collector(title, grid, per_class, seed).read(_rows(made))
        evidence = found.evidence
        settings = Settings(
            per_class, proofs, pictures, seed, batch_size, umap, progress, _numbers(classes, evidence.names)
        )
        return audit_evidence(
            evidence,
            loaded,
            None if loaded is None else lambda rows: _inputs(made, loaded, rows),
            settings=settings,
            sums=found.sums,
            method=title,
            name=made.request["model"],
        )


def _is_run(source: Any) -> bool:
    if isinstance(source, Run):
        return True
    return isinstance(source, str | os.PathLike) and (Path(source) / "run.json").is_file()


def _run_of(
    source: Any, model: Any, method: str | None, store: Any, seed: int, batch_size: int | str,
    progress: bool | None, stack: ExitStack,
) -> Run:  # fmt: skip
    """The run that is meant, made now if it is a source."""
    if isinstance(source, Run):
        return source
    if _is_run(source):
        return open_run(source)
    if model is None:
        raise InvalidValue(
            f"There must be a run.json in {str(source)!r}, and there is none: pass the folder of a run, or a "
            "model, which explains the source first."
        )
    if store is None:
        store = stack.enter_context(tempfile.TemporaryDirectory(prefix="pellucid-audit-"))
    return run(
        model, source, method or "grad-cam", store=store, seed=seed, batch_size=batch_size, progress=progress
    )


def _method(made: Run, asked: str | None) -> str:
    if asked is None:
        first: str = made.methods[0]
        return first
    if asked not in made.methods:
        raise InvalidValue(f"method must be one of the run's, {', '.join(made.methods)}; got {asked!r}.")
    return asked


def _model(made: Run, given: Any) -> Model:
    """The model to ask, which must be the one that was explained."""
    from pellucid.fingerprint import fingerprint

    if given is None:
        spec = made.model_spec
        if spec is None or made.settings.get("model_options"):
            raise InvalidValue(
                f"The run's model, {made.request['model']}, has no name by which it could be loaded: pass "
                "the model (--model), or proofs=0."
            )
        loaded = load(spec)
    else:
        loaded = ModelSource.of(given).load()
    if fingerprint(loaded) != made.request["weights"]:
        raise InvalidValue(
            f"The model must be the one that was explained, {made.request['model']}; {loaded.name} has other "
            "weights."
        )
    return loaded


def _rows(made: Run) -> Iterator[tuple[list[Mapping[str, Any]], list[Float[Tensor, "..."] | None]]]:
    for batch in made.batches(list(COLUMNS)):
        maps = made.maps(batch)
        yield batch.drop_columns(["map", "map_shape", "map_scale"]).to_pylist(), maps


def _inputs(made: Run, model: Model, rows: Sequence[int]) -> Float[Tensor, "N C H W"]:
    found = [made.opened(row) for row in rows]
    return torch.cat([
        model.prepare([one]) if isinstance(one, Picture) else model.prepare(one) for one in found
    ])  # fmt: skip


def _numbers(classes: Sequence[int | str] | None, names: Mapping[int, str]) -> frozenset[int] | None:
    """Classes by number.

    Raises:
        InvalidValue: there is no such class.
    """
    if classes is None:
        return None
    by_name = {name: number for number, name in names.items()}
    found = []
    for one in classes:
        number = by_name.get(str(one), int(one) if str(one).isdecimal() else -1)
        if number not in names:
            known = ", ".join(list(by_name)[:8])
            raise InvalidValue(f"classes must be among the run's, {known} …; got {one!r}.")
        found.append(number)
    return frozenset(found)
