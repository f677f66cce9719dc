"""A verdict in words: each sentence with its numbers and what they rest on."""

from collections.abc import Sequence

from pellucid.metrics.floors import FLOORS
from pellucid.verdict.record import MapVerdict, Verdict


def sentences(verdict: Verdict) -> tuple[str, ...]:
    """What a verdict says, in the order in which it should be read."""
    count = len(verdict.interventions)
    rests = f"{count} interventions"
    said: list[str] = []
    if not verdict.localised:
        said.append(
            f"This decision is not localised: in {rests}, {verdict.why}. No map of places can be right about "
            f"it; read none of them as showing where the evidence for {verdict.label} is."
        )
        return (*said, *_same(verdict))
    groups = {
        state: [one for one in verdict.maps if one.state == state]
        for state in ("supported", "not supported", "undecided")
    }
    if supported := groups["supported"]:
        said.append(
            f"{_names(supported)} {_is(supported)} supported by {rests} ({_numbers(supported)}): read "
            f"{'it' if len(supported) == 1 else 'them'}."
        )
        if close := [one for one in supported if not one.beats_floors]:
            said.append(
                f"On this picture {FLOORS.get(close[0].floor, close[0].floor)} does about as well as "
                f"{_names(close)}: what is looked at stands out by itself."
            )
    said += [
        f"{one.title} is not supported by {rests} ({_because(one)}): do not read it as evidence for "
        f"{verdict.label}."
        for one in groups["not supported"]
    ]
    if undecided := groups["undecided"]:
        ended = f", where the budget of {verdict.spent} ended" if verdict.spent else ""
        said.append(
            f"{_names(undecided)} {_is(undecided)} undecided after {rests}{ended} ({_ranges(undecided)}): "
            f"do not rest on {'it' if len(undecided) == 1 else 'them'} alone."
        )
    if not supported:
        said.append("No map is supported: none of them is to be read alone as the reason.")
    elif len(supported) > 1:
        said.append(f"The cheapest of them is {verdict.recommended}.")
    return (*said, *_same(verdict))


def note(verdict: Verdict, one: MapVerdict) -> str:
    """What belongs to a map wherever it is shown alone; empty where nothing speaks against it."""
    count = len(verdict.interventions)
    if one.state == "not judged":
        return "This decision is not localised: no map of places can be right about it."
    if one.state == "not supported":
        return (
            f"Not supported by {count} interventions ({_because(one)}): not to be read as evidence for "
            f"{verdict.label}."
        )
    return ""


def _same(verdict: Verdict) -> list[str]:
    """Of methods that show the same whatever the class."""
    same = [one for one in verdict.maps if one.same_for_every_class]
    if not same:
        return []
    shows = "shows" if len(same) == 1 else "show"
    return [
        f"{_names(same)} {shows} the same for another class: what is there, not why it is {verdict.label}."
    ]


def _names(maps: Sequence[MapVerdict]) -> str:
    titles = [one.title for one in maps]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _is(maps: Sequence[MapVerdict]) -> str:
    return "is" if len(maps) == 1 else "are"


def _numbers(maps: Sequence[MapVerdict]) -> str:
    return "q " + ", ".join(f"{one.q:.2f}" for one in maps)


def _ranges(maps: Sequence[MapVerdict]) -> str:
    """Of one map all there is to say; of several their numbers alone, as they stand in a table beside."""
    strongest = f"of the strongest parts alone {', '.join(f'{one.strongest:.2f}' for one in maps)}"
    if len(maps) > 1:
        return f"{_numbers(maps)}; {strongest}"
    (one,) = maps
    return f"q {one.q:.2f}, 95 % {one.low:.2f} to {one.high:.2f}; {strongest}{_floor(one)}"


def _floor(one: MapVerdict) -> str:
    return "" if one.beats_floors else f", no better than {FLOORS.get(one.floor, one.floor)}"


def _because(one: MapVerdict) -> str:
    if one.empty:
        return "it has no evidence for the class, or as much everywhere"
    return f"q {one.q:.2f}{_floor(one)}"
