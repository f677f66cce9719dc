"""What was proven of a cluster, decided and said in words."""

from pellucid.audit.effects import LEVEL
from pellucid.audit.findings import Cluster, Kind, Use
from pellucid.audit.proof import Proof
from pellucid.render.words import percent

MATTERS = 0.1
"""An effect is one that matters from this share of what tells the class's pictures from others."""
ALONE = 0.5
"""A mark is what the model uses if, put alone, it does this part of what all of its region does."""
COVERED = 0.5
"""A region is on the object from this share of it on that boxes cover; outside below half of that."""


def use_of(proof: Proof, p: float) -> Use:
    """Whether the model uses a region.

    It does if both effects are above 0, beyond chance, and matter; it does not if both are surely too small
    to matter.

    Args:
        proof: what interventions say.
        p: of either effect being 0 or less, corrected for how many proofs there are.
    """
    least = MATTERS * proof.span
    if proof.span <= 0 or proof.hidden.count < 2 or proof.put.count < 2:
        return "cannot tell"
    if p < LEVEL and proof.hidden.mean >= least and proof.put.mean >= least:
        return "uses"
    if proof.hidden.high < least and proof.put.high < least:
        return "does not"
    return "cannot tell"


def kind_of(use: Use, proof: Proof, whole: bool, covered: float | None) -> Kind:
    """What a region is.

    Args:
        use: whether the model uses it.
        proof: what interventions say.
        whole: whether it is that of a whole class, whose evidence lies elsewhere than others'.
        covered: the part of it that boxes cover; None without boxes.
    """
    if use == "does not":
        return "cleared"
    mark = proof.content.is_mark
    if mark is not False and proof.mark is not None and proof.mark < ALONE:
        mark = False  # there is a mark, and it is not what the model uses
    if covered is not None:  # who knows where objects are need not guess
        mark = False if covered >= COVERED else True if covered < COVERED / 2 else mark
    if mark is False and not whole:
        return "object"
    if use == "cannot tell" or mark is None:
        return "open"
    return "shortcut" if mark else "position"


def sentence(found: Cluster, covered: float | None) -> str:
    """A cluster's finding in words, with its numbers."""
    proof, region = found.proof, found.region
    if proof is None or region is None or found.kind is None:
        return found.sentence
    whose = (
        f"The evidence for {found.name} lies"
        if found.number == 0
        else f"In {len(found.members):,} pictures of {found.name} the evidence lies"
    )
    words = proof.content.words
    where = f"{whose} {region.place} ({percent(region.area)} of the picture{', ' + words if words else ''}). "
    return where + _in_words(found, proof, covered)


def _in_words(found: Cluster, proof: Proof, covered: float | None) -> str:
    hidden = (
        f"hidden there, its score falls by {proof.hidden} more than with as much hidden elsewhere"
        if proof.hidden.count
        else "as much cannot be hidden elsewhere"
    )
    put = (
        f"put into {proof.recipients} pictures of other classes, it raises theirs by {proof.put} more than "
        f"as much from elsewhere, and {percent(proof.turned)} become {found.name} (else "
        f"{percent(proof.turned_elsewhere)})"
        if proof.put.count
        else "there are no pictures of other classes to put it into"
    )
    same = percent(proof.content.fixed.mean or 0.0)
    effects = f"{hidden}; {put}."
    match found.kind:
        case "shortcut":
            why = (
                f"It is outside the boxes ({percent(1 - covered)} of it)"
                if covered is not None and covered < COVERED / 2
                else f"It is the same in {same} of the pictures, to the pixel: a mark, apart from the object"
                + (f", and put alone does {percent(min(1.0, proof.mark))} of it" if proof.mark else "")
            )
            return f"The model uses it: {effects} {why}."
        case "position":
            return (
                "This is a bias of the pictures, not a mark: what lies there differs from one to another. "
                f"{_moves(found, proof)} The model uses it: {effects}"
            )
        case "object":
            which = (
                f"Boxes cover {percent(covered)} of it"
                if covered is not None and covered >= COVERED
                else "A mark lies there, but put alone it does little: the rest does it"
                if proof.content.is_mark
                else "What lies there differs from picture to picture, as objects do"
            )
            used = "The model uses it" if found.use == "uses" else "Whether the model uses it cannot be told"
            return f"{used}: {effects} {which}."
        case "cleared":
            return f"The model does not use it: {effects}"
        case _:
            return f"{_open(found, proof, covered)} {effects[0].upper()}{effects[1:]}"


def _open(found: Cluster, proof: Proof, covered: float | None) -> str:
    if found.use == "uses":
        same = proof.content.fixed
        return (
            "The model uses it, but whether it is a mark or the object cannot be told: it is the same in "
            f"{percent(same.mean or 0.0)} of the pictures{'' if covered is None else ', boxes cover part'}."
        )
    if proof.span <= 0:
        return "It cannot be told whether the model uses it: it does not tell these pictures from others."
    return "It cannot be told whether the model uses it."


def _moves(found: Cluster, proof: Proof) -> str:
    shift = proof.shift
    if shift is None:
        return ""
    follows = "moves with it" if shift.moved.low > 0 else "does not move with it"
    lost = -shift.kept.mean
    score = (
        f"though the score falls by {-shift.kept.mean:.2f} [{-shift.kept.high:.2f}, {-shift.kept.low:.2f}], "
        "so the model reads the place as well"
        if shift.kept.high < 0 and lost > MATTERS * proof.span
        else "and the score stays"
    )
    way = "sideways" if shift.across else "up or down"
    return f"If the picture is moved {way} by half its side, the evidence {follows}, {score}."
