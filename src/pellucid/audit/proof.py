"""Interventions in a region: it is hidden where a class has it, put where others do not, and moved.

All effects are in log-odds of the class, log p / (1 - p), of which a region's share adds up as that of
evidence does, and which do not saturate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.audit.content import Content, content, same_pixels
from pellucid.audit.effects import Effect, effect
from pellucid.audit.regions import Region
from pellucid.engine.perturb import Copies, score_perturbed
from pellucid.engine.run import Engine
from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import REPLACEMENTS, Hider
from pellucid.output_scale import Scale
from pellucid.outputs import Reading

CONTROLS = 4
"""Places of the same size with which a region is compared, drawn anew for each picture."""
RECIPIENTS = 4
"""Pictures of other classes into which each picture's region is put."""
_DRAW = 1 << 45  # a draw of its own, apart from those of methods and verdicts


@dataclass(frozen=True)
class Shift:
    """What moving the whole picture round by half its side does.

    Attributes:
        kept: the class's score less what it was.
        moved: by how much more the score falls if the region is hidden where its content went, than if it is
            hidden where it was.
        across: whether the picture is moved sideways; else it is moved up and down.
    """

    kept: Effect
    moved: Effect
    across: bool


@dataclass(frozen=True)
class Proof:
    """What interventions say of a region.

    Attributes:
        hidden: by how much the class's score falls if the region is hidden, more than if as much is hidden
            elsewhere.
        put: by how much it rises if the region is put into pictures of other classes, more than if as much
            is put there from elsewhere in the same picture.
        mark: what putting only those pixels of the region does that are the same in the pictures, as a
            share of what all of it does; None where there are no such pixels.
        turned: the share of those pictures that become the class; `turned_elsewhere` if as much is put there
            from elsewhere.
        span: by how much the class's score is higher in its pictures than in the others.
        content: what lies in the region.
        shift: what moving the picture does; None where that was not asked.
        recipients: pictures of other classes.
        passes: of the model.
    """

    hidden: Effect
    put: Effect
    mark: float | None
    turned: float
    turned_elsewhere: float
    span: float
    content: Content
    shift: Shift | None
    recipients: int
    passes: int


def prove(
    engine: Engine,
    reading: Reading,
    members: Float[Tensor, "M C H W"],
    recipients: Float[Tensor, "R C H W"],
    region: Region,
    target: int,
    *,
    seed: int = 0,
    shifted: bool = True,
) -> Proof:
    """Intervenes in a region. The engine is within a session.

    Args:
        engine: of the model.
        reading: how its outputs are read.
        members: inputs whose evidence lies in the region.
        recipients: inputs of other classes.
        region: the region.
        target: the class.
        seed: of places, noise and who is put where.
        shifted: whether the pictures are moved, too.

    Cost:
        For each member 1 + 15 forward passes for hiding, 24 for putting, 7 for moving; one for each
        recipient.
    """
    ask = _Scores(engine, reading, target)
    draw = torch.Generator(device="cpu").manual_seed((seed * 1_000_003 + _DRAW) % (1 << 63))
    elsewhere = region.elsewhere() or region.elsewhere(0.5)
    own = ask.of(members)[0]
    others = ask.of(recipients)[0] if len(recipients) else torch.zeros(0, dtype=torch.float64, device="cpu")
    hidden = torch.full((len(members),), torch.nan, dtype=torch.float64, device="cpu")
    put, hits, hits_elsewhere = hidden.clone(), [], []
    what = content(members, region)
    fitting = members[
        torch.tensor(what.fits or [False] * len(members), dtype=torch.bool, device=members.device)
    ]
    same = same_pixels(fitting, region).to(members.device)
    whole, alone = [], []
    for i, member in enumerate(members if elsewhere else []):
        order = torch.randperm(len(elsewhere), generator=draw, dtype=torch.long, device="cpu")[:CONTROLS]
        places = [region, *(elsewhere[j] for j in order.tolist())]
        falls = own[i] - hide(ask, member[None], places, draw)
        hidden[i] = falls[0] - falls[1:].mean()
        if len(recipients):
            some = [(i * RECIPIENTS + j) % len(recipients) for j in range(min(RECIPIENTS, len(recipients)))]
            scores, turned = ask(paste(member, recipients[some], places), len(some) * len(places), member)
            rises = scores.view(len(places), -1).mean(1) - others[some].mean()
            if what.fits[i : i + 1] == (True,) and same.any():
                scores = ask.of(torch.where(same, member, recipients[some]))[0]
                whole.append(float(rises[0]))
                alone.append(float(scores.mean() - others[some].mean()))
            put[i] = rises[0] - rises[1:].mean()
            shares = turned.view(len(places), -1).mean(1)
            hits.append(float(shares[0]))
            hits_elsewhere.append(float(shares[1:].mean()))
    return Proof(
        effect(hidden),
        effect(put),
        max(0.0, sum(alone)) / sum(whole) if sum(whole) > 0 else None,
        sum(hits) / len(hits) if hits else 0.0,
        sum(hits_elsewhere) / len(hits_elsewhere) if hits else 0.0,
        float(own.mean() - others.mean()) if len(others) else 0.0,
        what,
        _shift(ask, members, own, region, draw) if shifted else None,
        len(recipients),
        ask.passes,
    )


def hide(
    ask: "_Scores", x: Float[Tensor, "1 C H W"], places: Sequence[Region], draw: torch.Generator
) -> Float[Tensor, " places"]:
    """The score with each region hidden, the mean over what it is hidden behind."""
    height, width = x.shape[-2:]
    grid = Grid(min(places[0].grid, height), min(places[0].grid, width), height, width)
    masks = torch.stack([_cells(one, grid) for one in places])
    copies = Hider(
        x,
        grid,
        masks.repeat_interleave(len(REPLACEMENTS), 0),
        [*REPLACEMENTS] * len(places),
        draw,
    )
    scores, _ = ask(copies, len(places) * len(REPLACEMENTS), x[0])
    return scores.view(len(places), len(REPLACEMENTS)).mean(1)


def paste(
    donor: Float[Tensor, "C H W"], recipients: Float[Tensor, "R C H W"], places: Sequence[Region]
) -> Copies:
    """Makes copies of recipients with a region of the donor in the same place; regions in the outer order."""
    count = len(recipients)

    def copies(start: int, stop: int) -> Tensor:
        made = []
        for k in range(start, stop):
            rows, columns = places[k // count].pixels((donor.shape[-2], donor.shape[-1]))
            one = recipients[k % count].clone()
            one[:, rows, columns] = donor[:, rows, columns]
            made.append(one)
        return torch.stack(made)

    return copies


def _shift(
    ask: "_Scores",
    members: Float[Tensor, "M C H W"],
    own: Float[Tensor, " M"],
    region: Region,
    draw: torch.Generator,
) -> Shift:
    """Moves the pictures round by half a side, so that what was left is right, or what was above is below."""
    left, top, right, bottom = region.box
    across = abs(left + right - 1) >= abs(top + bottom - 1)
    grid = region.grid
    half = grid // 2
    there = region.moved(0, half) if across else region.moved(half, 0)
    kept, moved = [], []
    for i, member in enumerate(members):
        axis = -1 if across else -2
        x = member.roll(round(half / grid * member.shape[axis]), axis)[None]
        whole = float(ask.of(x)[0][0])
        kept.append(whole - float(own[i]))
        now, before = (whole - hide(ask, x, [there, region], draw)).tolist()
        moved.append(now - before)
    values = (torch.tensor(part, dtype=torch.float64, device="cpu") for part in (kept, moved))
    return Shift(effect(next(values)), effect(next(values)), across)


class _Scores:
    """The log-odds of one class, and whether it is the predicted one, of many inputs."""

    def __init__(self, engine: Engine, reading: Reading, target: int) -> None:
        self.engine, self.reading, self.target, self.passes = engine, reading, target, 0

    def __call__(
        self, copies: Copies, count: int, like: Float[Tensor, "C H W"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Of copies that are made chunk by chunk."""
        self.passes += count
        rows = score_perturbed(self.engine, like[None], copies, 0, count, [self._odds, self._hit])
        return rows[0], rows[1]

    def of(self, inputs: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Of inputs as they are."""
        return self(lambda start, stop: inputs[start:stop].clone(), len(inputs), inputs[0])

    def _odds(self, raw: object, rows: int) -> Float[Tensor, " B"]:
        return log_odds(self.reading.outputs(raw, rows).double(), self.reading.scale, self.target)

    def _hit(self, raw: object, rows: int) -> Float[Tensor, " B"]:
        values = self.reading.scale.class_values(self.reading.outputs(raw, rows), "logit")
        return (values.argmax(1) == self.target).double()


def log_odds(outputs: Float[Tensor, "N K"], scale: Scale, target: int) -> Float[Tensor, " N"]:
    """log p / (1 - p) of a class, from logits exactly; a value that stands for no class as it is.

    Example:
        >>> log_odds(torch.tensor([[2.0, 0.5]]), Scale(), 0)
        tensor([1.5000])
    """
    single = outputs.shape[1] == 1
    if scale.name == "value":
        return outputs[:, target]
    if scale.name == "logit":
        if single or scale.multi_label:
            return scale.class_values(outputs, "logit")[:, target]
        others = outputs.clone()
        others[:, target] = -torch.inf
        return outputs[:, target] - others.logsumexp(1)
    return scale.probabilities(outputs)[:, target].logit(eps=1e-7)


def _cells(region: Region, grid: Grid) -> Tensor:
    """The region on a grid of at most as many cells, of an input that has fewer pixels."""
    found = torch.zeros(grid.rows, grid.columns, dtype=torch.bool, device="cpu")
    rows, columns = region.pixels((grid.rows, grid.columns))
    found[rows, columns] = True
    return found
