"""What an audit found: classes, clusters of their maps, what interventions proved, findings by rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid.audit.proof import Proof
from pellucid.audit.regions import Region
from pellucid.errors import InvalidValue

if TYPE_CHECKING:
    import pyarrow

Use = Literal["uses", "does not", "cannot tell"]
"""Whether the model uses what lies in a region."""
Kind = Literal["shortcut", "position", "open", "object", "cleared"]
"""What a finding is: see `Finding`."""
KINDS: dict[Kind, str] = {
    "shortcut": "shortcut",
    "position": "position bias",
    "open": "cannot tell",
    "object": "the object",
    "cleared": "not used",
}
"""The kinds in words, in the order in which findings are listed."""
CLUSTERS_FORMAT = 1
"""The version of what is written."""


@dataclass(frozen=True)
class Example:
    """A picture as the model sees it, and where its evidence lies (rows of shares of cells)."""

    row: int
    id: str
    picture: Image.Image = field(repr=False)
    grid: Sequence[Sequence[float]] = field(repr=False)


@dataclass(frozen=True)
class Cluster:
    """Pictures of one class whose evidence lies alike.

    Attributes:
        name: the class; `number` the cluster within it, from 1; 0 is the class as a whole.
        index: the class's number.
        members: the pictures' rows in the run; `core` those that agree most closely, which are proven with.
        mean: the mean map, shares of evidence by cell (G x G).
        region: where its evidence exceeds that of other classes most; None where nothing was compared.
        inside: the mean share of evidence in the region; `inside_others` of other classes' pictures.
        gap: how much nearer the core's maps come to each other than by chance (`likeness_gaps`).
        border, corner: the mean share of evidence near the border, in the corners; `..._others` alike.
        outside: the mean share outside boxes; None without boxes.
        suspicion: how unlike other classes' evidence its own is, from 0 to 1: by this clusters are ranked.
        proof: what interventions say; None where none were made, for the reason in `sentence`.
        p: of both effects of the proof being 0 or less, corrected for the number of proofs (Holm).
        use: whether the model uses what lies in the region.
        kind: what was found; None without a proof.
        sentence: that in words, with its numbers.
        examples: some of its pictures.
    """

    name: str
    index: int
    number: int
    members: Sequence[int] = field(repr=False)
    core: Sequence[int] = field(repr=False)
    mean: Sequence[Sequence[float]] = field(repr=False)
    region: Region | None
    inside: float
    inside_others: float
    gap: float
    border: float
    border_others: float
    corner: float
    corner_others: float
    outside: float | None
    suspicion: float
    proof: Proof | None = field(default=None, repr=False)
    p: float | None = None
    use: Use | None = None
    kind: Kind | None = None
    sentence: str = ""
    examples: Sequence[Example] = field(default=(), repr=False)

    @property
    def title(self) -> str:
        """What it is called: its class and number."""
        return f"{self.name}, all pictures" if self.number == 0 else f"{self.name}, cluster {self.number}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, without pictures."""
        known = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("region", "proof", "examples")
        }
        region = self.region
        return {
            **known,
            "members": list(self.members),
            "core": list(self.core),
            "mean": [list(row) for row in self.mean],
            "region": None
            if region is None
            else {**asdict(region), "box": list(region.box), "place": region.place, "area": region.area},
            "proof": None if self.proof is None else asdict(self.proof),
            "examples": [one.row for one in self.examples],
        }


@dataclass(frozen=True)
class AuditedClass:
    """One class.

    Attributes:
        name, index: what it is called, its number.
        pictures: how many there are in the run, failed ones apart; `read` of these were drawn and compared.
        mean: the mean map of all its pictures, shares of evidence by cell.
        displacement: how unlike other classes' the place of its evidence is, beyond chance, from 0 to 1.
        suspicion: the highest of its clusters'.
        clusters: by size; the class as a whole comes last if it was looked at.
        places: of each picture that was read (row, x, y, cluster), near those whose evidence lies alike.
        embedding: how places were found: "umap" or "spectral".
        note: why there are no clusters, if so.
        grids: of a class that the page shows each picture's map, and `ids` what the pictures are called.
    """

    name: str
    index: int
    pictures: int
    read: int
    mean: Sequence[Sequence[float]] = field(repr=False)
    displacement: float
    suspicion: float
    clusters: Sequence[Cluster] = field(repr=False)
    places: Sequence[tuple[int, float, float, int]] = field(repr=False)
    embedding: str
    note: str = ""
    grids: Float[Tensor, "N G G"] | None = field(default=None, repr=False, compare=False)
    ids: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class Finding:
    """What was found about a cluster, most serious first.

    Attributes:
        kind: "shortcut": the model uses a mark that is the same in the cluster's pictures, or what lies
            outside their boxes. "position": the class's evidence lies where that of others does not, but is
            no fixed mark: a bias of the pictures. "open": it cannot be told. "object": the model uses what
            lies there, and it differs from picture to picture as objects do. "cleared": it does not use it.
        name, cluster: of which class, which of its clusters (0: all pictures).
        sentence: with its numbers.
        suspicion: the cluster's.
    """

    kind: Kind
    name: str
    cluster: int
    sentence: str
    suspicion: float


@dataclass(frozen=True)
class Odd:
    """A picture worth a look, and why: `value` is what it is ranked by."""

    row: int
    id: str
    label: str
    prediction: str
    probability: float | None
    value: float
    grid: Sequence[Sequence[float]] = field(repr=False)


@dataclass(frozen=True, repr=False)
class Audited:
    """What a model looks at across a data set.

    Attributes:
        model: the model's name; `method` whose maps were read.
        grid: cells along a side.
        counts: pictures "in the run", "failed", "without evidence", "of another target", "read".
        per_class: the most pictures of a class that were drawn; `seed` of that and all other draws.
        classes: by suspicion.
        findings: by kind and suspicion.
        outside: pictures whose evidence lies outside their boxes most; the value is that share.
        mistakes: confident mistakes by how far their evidence differs from that of pictures that are rightly
            taken for the class; the value is Hellinger's distance.
        notes: what a reader should know.
        passes: of the model.
        seconds: that it took.
    """

    model: str
    method: str
    grid: int
    counts: Mapping[str, int]
    per_class: int
    seed: int
    classes: Sequence[AuditedClass]
    findings: Sequence[Finding]
    outside: Sequence[Odd]
    mistakes: Sequence[Odd]
    notes: Sequence[str]
    passes: int
    seconds: float

    @property
    def clusters(self) -> list[Cluster]:
        """Those of all classes, the most suspicious first."""
        return sorted((one for group in self.classes for one in group.clusters), key=lambda c: -c.suspicion)

    @property
    def shortcuts(self) -> list[Finding]:
        """The proven ones."""
        return [one for one in self.findings if one.kind == "shortcut"]

    def __repr__(self) -> str:
        head = f"Audit of {self.model}: {len(self.classes):,} classes, {self.counts['read']:,} pictures"
        return "\n".join([head, *(f"- {one.sentence}" for one in self._summarised())])

    def _summarised(self) -> Iterator[Finding]:
        """What a summary lists."""
        yield from (one for one in self.findings if one.kind in ("shortcut", "position", "open"))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, without pictures."""
        return {
            "format": "pellucid.audit",
            "schema_version": CLUSTERS_FORMAT,
            "model": self.model,
            "method": self.method,
            "grid": self.grid,
            "counts": dict(self.counts),
            "per_class": self.per_class,
            "seed": self.seed,
            "findings": [asdict(one) for one in self.findings],
            "classes": [
                {
                    "name": one.name,
                    "index": one.index,
                    "pictures": one.pictures,
                    "read": one.read,
                    "mean": [list(row) for row in one.mean],
                    "displacement": one.displacement,
                    "suspicion": one.suspicion,
                    "clusters": [each.to_dict() for each in one.clusters],
                    "places": [list(place) for place in one.places],
                    "embedding": one.embedding,
                    "note": one.note,
                }
                for one in self.classes
            ],
            "outside": [asdict(one) for one in self.outside],
            "mistakes": [asdict(one) for one in self.mistakes],
            "notes": list(self.notes),
            "passes": self.passes,
            "seconds": self.seconds,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each cluster."""
        found = []
        for one in self.clusters:
            proof, region = one.proof, one.region
            found.append({
                "class": one.name,
                "class_index": one.index,
                "cluster": one.number,
                "pictures": len(one.members),
                "suspicion": one.suspicion,
                "left": None if region is None else region.box[0],
                "top": None if region is None else region.box[1],
                "right": None if region is None else region.box[2],
                "bottom": None if region is None else region.box[3],
                "place": None if region is None else region.place,
                "inside": one.inside,
                "inside_others": one.inside_others,
                "gap": one.gap,
                "border": one.border,
                "corner": one.corner,
                "outside": one.outside,
                "use": one.use,
                "kind": one.kind,
                "hidden": None if proof is None else proof.hidden.mean,
                "hidden_low": None if proof is None else proof.hidden.low,
                "hidden_high": None if proof is None else proof.hidden.high,
                "put": None if proof is None else proof.put.mean,
                "put_low": None if proof is None else proof.put.low,
                "put_high": None if proof is None else proof.put.high,
                "turned": None if proof is None else proof.turned,
                "fixed": None if proof is None else proof.content.fixed.mean,
                "p": one.p,
                "sentence": one.sentence,
                "members": list(one.members),
            })  # fmt: skip
        return found


def row_schema(pa: Any) -> "pyarrow.Schema":
    """The columns of `Audited.rows`."""
    real, text, whole = pa.float64(), pa.string(), pa.int64()
    kinds = {
        "class": text, "class_index": whole, "cluster": whole, "pictures": whole, "place": text, "use": text,
        "kind": text, "sentence": text, "members": pa.list_(whole),
    }  # fmt: skip
    names = (
        "class", "class_index", "cluster", "pictures", "suspicion", "left", "top", "right", "bottom", "place",
        "inside", "inside_others", "gap", "border", "corner", "outside", "use", "kind", "hidden",
        "hidden_low", "hidden_high", "put", "put_low", "put_high", "turned", "fixed", "p", "sentence",
        "members",
    )  # fmt: skip
    return pa.schema([pa.field(name, kinds.get(name, real)) for name in names])


def check_positive(**values: int) -> None:
    """Refuses numbers below 1.

    Raises:
        InvalidValue: one is.
    """
    for name, value in values.items():
        if value < 1:
            raise InvalidValue(f"{name} must be at least 1; got {value}.")
