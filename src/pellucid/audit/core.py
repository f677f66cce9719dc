"""The audit of evidence that is at hand: clusters by class, the most suspicious proven, findings ranked."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import sqrt
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.audit.clusters import FEWEST, Clustering, cluster
from pellucid.audit.evidence import Evidence
from pellucid.audit.findings import KINDS, AuditedClass, Cluster, Example, Finding, Odd, check_positive
from pellucid.audit.proof import Proof, prove
from pellucid.audit.record import Audit
from pellucid.audit.regions import region_of
from pellucid.audit.sentences import kind_of, sentence, use_of
from pellucid.audit.statistics import (
    affinity,
    border_share,
    corner_share,
    displacement,
    likeness_gaps,
    outside_boxes,
    peak_parts,
    relocated,
)
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue, PellucidError
from pellucid.intervals import holm
from pellucid.model import Model
from pellucid.outputs import Reading
from pellucid.probe import Probe

PROOFS = 32
"""Regions that are proven, unless said."""
PICTURES = 24
"""Pictures of a cluster with which its region is proven, unless said."""
NOTEWORTHY = 0.08
"""The suspicion from which a region is proven."""
DISPLACED = 0.25
"""The displacement from which a class as a whole is."""
CLOSE = 0.5
"""The core of a cluster are its maps with a gap from this share of its highest ones on."""
OTHERS = 96
"""Pictures of other classes into which regions are put."""
COMPARED = 8
"""Other classes with which the place of a class's evidence is compared."""
SHOWN = 12
"""Classes whose pictures are shown."""
LISTED = 100
"""Pictures listed outside their boxes, and mistakes."""
EXAMPLES = 5
_SURE = 0.5
_LONGEST = 160  # pixels of an example

Inputs = Callable[[Sequence[int]], Float[Tensor, "N C H W"]]
"""Makes the model's inputs of pictures, by their rows."""


@dataclass(frozen=True)
class Settings:
    """How an audit is made: see `pellucid.audit`."""

    per_class: int
    proofs: int = PROOFS
    pictures: int = PICTURES
    seed: int = 0
    batch_size: int | str = "auto"
    umap: bool | None = None
    progress: bool | None = None
    only: frozenset[int] | None = None

    def __post_init__(self) -> None:
        check_positive(per_class=self.per_class, pictures=self.pictures)
        if self.proofs < 0:
            raise InvalidValue(f"proofs must be at least 0; got {self.proofs}.")


@dataclass(frozen=True)
class Sums:
    """What was summed over all pictures while the drawn ones were kept.

    Attributes:
        counts: see `Audit.counts`.
        means: of each class the mean map of all its pictures.
        sizes: of each class how many there are.
        outside, mistakes: see `Audit`.
        notes: what a reader should know.
    """

    counts: Mapping[str, int]
    means: Mapping[int, Float[Tensor, "G G"]]
    sizes: Mapping[int, int]
    outside: Sequence[Odd] = ()
    mistakes: Sequence[Odd] = ()
    notes: Sequence[str] = ()


def audit_evidence(
    evidence: Evidence,
    model: Any,
    inputs: Inputs | None,
    *,
    settings: Settings = Settings(per_class=1 << 30),
    sums: Sums | None = None,
    method: str = "",
    name: str = "",
) -> Audit:
    """The audit of evidence that is at hand.

    Args:
        evidence: where the evidence of pictures lies.
        model: the model, which is asked what happens if regions change; None to prove nothing.
        inputs: makes its inputs of pictures, by their rows.
        settings: how it is made.
        sums: what is known of all pictures; by default that of the evidence.
        method: whose maps they are.
        name: the model's; that of the model itself unless given.

    Raises:
        InvalidValue: no picture has evidence.
        ExtraMissing: scikit-learn is not installed.
    """
    started = time.perf_counter()
    wrapped = None if model is None else Model.wrap(model)
    known = evidence.grids.sum((1, 2)) > 0
    if not known.any():
        raise InvalidValue("There must be a picture with evidence for its class; none has any.")
    sums = sums_of(evidence) if sums is None else sums
    rows_by_class = {
        number: torch.nonzero(known & (evidence.classes == number))[:, 0]
        for number in evidence.classes[known].unique().tolist()
    }
    groups = _Groups(evidence, rows_by_class, settings.seed)
    found = [
        groups.of(number, settings.umap)
        for number in rows_by_class
        if settings.only is None or number in settings.only
    ]
    ranked = sorted(found, key=lambda one: -one.suspicion)
    passes = 0
    notes = list(sums.notes)
    if wrapped is not None and inputs is not None:
        prover = _Prover(evidence, groups, wrapped, inputs, settings)
        ranked = prover.prove(ranked)
        passes = prover.passes
        notes += prover.notes
    classes = [
        AuditedClass(
            evidence.names[one.number],
            one.number,
            sums.sizes.get(one.number, len(rows_by_class[one.number])),
            len(rows_by_class[one.number]),
            _listed(sums.means[one.number]),
            one.displacement,
            one.suspicion,
            one.clusters,
            one.places,
            one.embedding,
            one.note,
            evidence.grids[rows_by_class[one.number]] if rank < SHOWN else None,
            [evidence.ids[i] for i in rows_by_class[one.number].tolist()] if rank < SHOWN else (),
        )
        for rank, one in enumerate(ranked)
    ]
    return Audit(
        name or ("" if wrapped is None else wrapped.name),
        method,
        evidence.grids.shape[-1],
        sums.counts,
        settings.per_class,
        settings.seed,
        classes,
        _findings(classes),
        sums.outside,
        sums.mistakes,
        notes,
        passes,
        time.perf_counter() - started,
    )


def _findings(classes: Sequence[AuditedClass]) -> list[Finding]:
    order = list(KINDS)
    told = [
        Finding(one.kind, one.name, one.number, one.sentence, one.suspicion)
        for group in classes
        for one in group.clusters
        if one.kind is not None
    ]
    return sorted(told, key=lambda one: (order.index(one.kind), -one.suspicion))


@dataclass(frozen=True)
class _Found:
    """A class on its way to be an `AuditedClass`."""

    number: int
    clusters: list[Cluster]
    places: list[tuple[int, float, float, int]]
    embedding: str
    displacement: float
    note: str = ""

    @property
    def suspicion(self) -> float:
        return max((one.suspicion for one in self.clusters), default=0.0)


class _Groups:
    """Clusters of each class, compared with the other classes."""

    def __init__(self, evidence: Evidence, rows: Mapping[int, Int[Tensor, " n"]], seed: int) -> None:
        self.evidence, self.rows, self.seed = evidence, rows, seed
        self.at = {int(row): i for i, row in enumerate(evidence.rows.tolist())}
        self.every = torch.cat(list(rows.values()))
        self.large = [number for number, own in rows.items() if len(own) >= FEWEST]
        self.parts = peak_parts(evidence.grids)
        ends = accumulate(map(len, rows.values()))
        self.starts = {number: end - len(own) for (number, own), end in zip(rows.items(), ends, strict=True)}

    def generator(self, number: int) -> torch.Generator:
        """Random numbers for a class, the same whatever other classes there are."""
        return torch.Generator(device="cpu").manual_seed(
            (self.seed * 1_000_003 + 7919 * (number + 2)) % (1 << 62)
        )

    def others(self, number: int, most: int, among: Int[Tensor, " n"] | None = None) -> Int[Tensor, " m"]:
        """Pictures of other classes, drawn evenly from all; of the only class those that are not `among`."""
        start, own = self.starts[number], len(self.rows[number])
        if own == len(self.every):
            pool = self.every if among is None else self.every[~torch.isin(self.every, among)]
            return pool[_drawn(len(pool), most, self.generator(number))] if among is not None else pool[:0]
        drawn = _drawn(len(self.every) - own, most, self.generator(number))
        return self.every[torch.where(drawn < start, drawn, drawn + own)]

    def of(self, number: int, umap: bool | None) -> _Found:
        """The clusters of one class."""
        own, grids = self.rows[number], self.evidence.grids
        if len(own) < FEWEST:
            word = "picture has" if len(own) == 1 else "pictures have"
            note = f"Only {len(own)} {word} evidence: too few to compare (at least {FEWEST})."
            return _Found(number, [], [], "spectral", 0.0, note)
        others = self.others(number, max(len(own), OTHERS))
        maps = grids[own]
        made: Clustering = cluster(maps, seed=self.seed, umap=umap)
        generator = self.generator(number)
        null = relocated(maps, grids[others], generator) if len(others) else relocated(maps, maps, generator)
        gaps = likeness_gaps(maps, null)
        away = self._displacement(number, own)
        clusters = [
            self._cluster(number, k + 1, own[made.labels == k], gaps[made.labels == k], 0.0)
            for k in range(int(made.labels.max()) + 1)
        ]
        if away >= DISPLACED and len(others):
            clusters.append(self._cluster(number, 0, own, gaps, away))
        places = [
            (int(self.evidence.rows[i]), x, y, int(k) + 1)
            for i, (x, y), k in zip(own.tolist(), made.places.tolist(), made.labels.tolist(), strict=True)
        ]
        return _Found(number, clusters, places, made.embedding, away)

    def _displacement(self, number: int, own: Int[Tensor, " n"]) -> float:
        """The median over other classes of how unlike the place is, less what chance gives."""
        generator = self.generator(number)
        drawn = _drawn(len(self.large), COMPARED + 1, generator).tolist()
        others = [self.large[which] for which in drawn if self.large[which] != number][:COMPARED]
        found = [displacement(self.parts[own], self.parts[self.rows[one]], generator) for one in others]
        values = torch.tensor(found, dtype=torch.float64, device="cpu")
        return max(0.0, float(values.median())) if found else 0.0

    def _cluster(
        self, number: int, k: int, members: Int[Tensor, " n"], gaps: Float[Tensor, " n"], away: float
    ) -> Cluster:
        """What is told of some pictures of a class before anything is proven."""
        evidence = self.evidence
        grids = evidence.grids
        others = grids[self.others(number, max(len(members), OTHERS), members)]
        core, gap = _core(gaps)
        inner = members if k == 0 else members[core]
        region = region_of(grids[inner], others, evidence.margin)
        if k == 0:  # what holds of a whole class must hold of pictures drawn at random
            close = inner[
                torch.randperm(len(inner), generator=self.generator(number), dtype=torch.long, device="cpu")
            ]
        else:
            close = inner[region.share(grids[inner]).argsort(descending=True, stable=True)]
        boxes = None if evidence.objects is None else outside_boxes(grids[members], evidence.objects[members])
        boxes = None if boxes is None else boxes[boxes.isfinite()]
        inside, theirs = region.share(grids[members]), region.share(others)
        return Cluster(
            evidence.names[number],
            number,
            k,
            evidence.rows[members].tolist(),
            evidence.rows[close].tolist(),
            _listed(grids[members].double().mean(0)),
            region,
            float(inside.mean()),
            float(theirs.mean()) if len(others) else 0.0,
            gap,
            float(border_share(grids[members]).mean()),
            float(border_share(others).mean()) if len(others) else 0.0,
            float(corner_share(grids[members]).mean()),
            float(corner_share(others).mean()) if len(others) else 0.0,
            float(boxes.mean()) if boxes is not None and len(boxes) else None,
            away if k == 0 else max(0.0, gap) * (1 - len(inner) ** -0.5),
            sentence="Its evidence lies where that of other classes does: not proven.",
        )


def _drawn(count: int, most: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """At most so many different numbers below `count`, in random order."""
    if count <= 4 * most:
        return torch.randperm(count, generator=generator, dtype=torch.long, device="cpu")[:most]
    drawn = torch.randint(count, (2 * most,), generator=generator, dtype=torch.long, device="cpu").tolist()
    return torch.tensor(list(dict.fromkeys(drawn))[:most], dtype=torch.long, device="cpu")


def _core(gaps: Float[Tensor, " n"]) -> tuple[Bool[Tensor, " n"], float]:
    """Which maps of a cluster agree most closely, and their mean gap.

    A few marked pictures may be in a cluster with others whose evidence lies near by chance.
    """
    highest = float(gaps.sort(descending=True).values[: FEWEST + 1].median())
    core = gaps >= CLOSE * highest if highest > 0 else torch.ones(len(gaps), dtype=torch.bool, device="cpu")
    if int(core.sum()) < FEWEST:
        core = torch.ones_like(core)
    return core, float(gaps[core].mean())


def _once(clusters: Sequence[Cluster]) -> list[Cluster]:
    """Without the class as a whole where a shortcut in one of its clusters is why it stands out."""
    shortcut = any(one.kind == "shortcut" and one.number for one in clusters)
    return [one for one in clusters if one.number or not shortcut]


class _Prover:
    """Asks the model about the regions of the most suspicious clusters."""

    def __init__(
        self, evidence: Evidence, groups: _Groups, model: Model, inputs: Inputs, settings: Settings
    ) -> None:
        self.evidence, self.groups, self.model, self.inputs = evidence, groups, model, inputs
        self.settings, self.passes, self.notes = settings, 0, list[str]()

    def prove(self, found: Sequence[_Found]) -> list[_Found]:
        """The classes with what was proven of their clusters, and examples of those that are shown."""
        wanted = self._wanted(found)
        engine = Engine(self.model, "float32", self.settings.batch_size)
        proofs: dict[tuple[int, int], tuple[Proof, list[int], Tensor] | str] = {}
        with (
            showing(
                "proving", max(1, len(wanted)) * self.settings.pictures * 47, self.settings.progress
            ) as bar,
            engine.session(self.settings.seed),
        ):
            engine.progress = bar
            reading: Reading | None = None
            for one in wanted:
                try:
                    members, x = self._read(one.core[: self.settings.pictures])
                    reading = reading or self._reading(engine, x)
                    proofs[one.index, one.number] = self._proof(engine, reading, one, x), members, x
                except PellucidError as error:
                    proofs[one.index, one.number] = f"It could not be proven: {error}"
        held = [one for one in proofs.values() if not isinstance(one, str)]
        corrected = iter(holm([max(proof.hidden.p, proof.put.p) for proof, _, _ in held]))
        self.passes = sum(proof.passes for proof, _, _ in held)
        told = {}
        for key, got in proofs.items():
            told[key] = got if isinstance(got, str) else (*got, next(corrected))
        return [
            replace(
                group,
                clusters=_once([
                    self._with_proof(one, told.get((one.index, one.number)), rank < SHOWN)
                    for one in group.clusters
                ]),
            )
            for rank, group in enumerate(found)
        ]  # fmt: skip

    def _wanted(self, found: Sequence[_Found]) -> list[Cluster]:
        """The clusters whose regions are proven: the most suspicious."""
        some = [
            one for group in found for one in group.clusters
            if one.suspicion >= (DISPLACED if one.number == 0 else NOTEWORTHY) and len(one.core) >= FEWEST
        ]  # fmt: skip
        some.sort(key=lambda one: -one.suspicion)
        if len(some) > self.settings.proofs:
            self.notes.append(
                f"{len(some)} clusters stood out; the {self.settings.proofs} that did most were proven "
                "(proofs=, --proofs)."
            )
        return some[: self.settings.proofs]

    def _proof(self, engine: Engine, reading: Reading, one: Cluster, x: Float[Tensor, "M C H W"]) -> Proof:
        at = torch.tensor([self.groups.at[row] for row in one.members], dtype=torch.long, device="cpu")
        others = self.groups.others(one.index, OTHERS, at)
        _, theirs = self._read(self.evidence.rows[others].tolist(), like=x)
        if one.region is None:
            raise InvalidValue("a region must be known of a cluster that is proven; none is.")
        target = self.evidence.target.get(one.index, one.index)
        return prove(
            engine, reading, x, theirs, one.region, target, seed=self.settings.seed, shifted=one.number == 0
        )

    def _reading(self, engine: Engine, x: Float[Tensor, "M C H W"]) -> Reading:
        return Probe(engine, x[:2], None, "logit", seed=self.settings.seed, limit=2).reading

    def _read(
        self, rows: Sequence[int], like: Tensor | None = None
    ) -> tuple[list[int], Float[Tensor, "N C H W"]]:
        """The inputs of pictures that can be read and have the commonest size, or that of others."""
        kept, made = [], []
        for row in rows:
            try:
                made.append(self.inputs([row]))
            except PellucidError:
                continue
            kept.append(row)
        if not made:
            if like is not None:
                return [], like[:0]
            raise InvalidValue("none of its pictures can be read again.")
        sizes = [tuple(one.shape[1:]) for one in made]
        size = max(set(sizes), key=sizes.count) if like is None else tuple(like.shape[1:])
        some = [i for i, one in enumerate(sizes) if one == size]
        if not some and like is not None:
            return [], like[:0]
        return [kept[i] for i in some], torch.cat([made[i] for i in some])

    def _with_proof(
        self, one: Cluster, got: "str | tuple[Proof, list[int], Tensor, float] | None", shown: bool
    ) -> Cluster:
        """A cluster with what was proven of it."""
        if got is None or isinstance(got, str):
            if got is not None:
                one = replace(one, sentence=got)
            return replace(one, examples=self._examples(one, *self._read_shown(one))) if shown else one
        proof, rows, x, p = got
        covered = self._covered(one)
        use = use_of(proof, p)
        made = replace(
            one, proof=proof, p=p, use=use, kind=kind_of(use, proof, one.number == 0, covered),
            examples=self._examples(one, rows, x),
        )  # fmt: skip
        return replace(made, sentence=sentence(made, covered))

    def _read_shown(self, one: Cluster) -> tuple[list[int], Tensor]:
        try:
            return self._read(one.core[:EXAMPLES])
        except PellucidError:
            return [], torch.zeros(0, 1, 1, 1, dtype=torch.float32, device="cpu")

    def _examples(self, one: Cluster, rows: Sequence[int], x: Float[Tensor, "N C H W"]) -> list[Example]:
        if not rows:
            return []
        evidence, found = self.evidence, []
        for row, picture in zip(rows, self.model.pictures(x[:EXAMPLES]), strict=False):
            small = picture.rgb.copy()
            small.thumbnail((_LONGEST, _LONGEST))
            at = self.groups.at[row]
            found.append(Example(row, evidence.ids[at], small, _listed(evidence.grids[at])))
        return found

    def _covered(self, one: Cluster) -> float | None:
        """The part of the region that boxes of its pictures cover; None without boxes."""
        objects, region = self.evidence.objects, one.region
        if objects is None or region is None:
            return None
        at = torch.tensor([self.groups.at[row] for row in one.core], dtype=torch.long, device="cpu")
        found = objects[at][:, region.mask].double().mean(1)
        found = found[found.isfinite()]
        return float(found.mean()) if len(found) else None


def sums_of(evidence: Evidence) -> Sums:
    """The sums over the evidence that is at hand, as if there were no more."""
    known = evidence.grids.sum((1, 2)) > 0
    numbers = evidence.classes.unique().tolist()
    return Sums(
        {"in the run": len(evidence), "failed": 0, "without evidence": int((~known).sum()),
         "of another target": 0, "read": int(known.sum())},
        {n: evidence.grids[known & (evidence.classes == n)].double().mean(0).nan_to_num() for n in numbers},
        {n: int((evidence.classes == n).sum()) for n in numbers},
    )  # fmt: skip


def distance(a: Float[Tensor, "G G"], b: Float[Tensor, "G G"]) -> float:
    """Hellinger's distance of two maps of shares, from 0 to 1.

    Example:
        >>> p = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        >>> distance(p, p), distance(p, p.flip(1))
        (0.0, 1.0)
    """
    return sqrt(max(0.0, 1 - affinity(a[None], b[None])))


def _listed(grid: Float[Tensor, "G G"]) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in grid.double().tolist()]
