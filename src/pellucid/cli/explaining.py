"""What `pellucid explain` does: groups of pictures explained, written and told of."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pellucid.cli.index import Index, Row, file_facts, request_facts, text_digest, unbroken
from pellucid.cli.look import Look
from pellucid.cli.names import file_names, picture_names
from pellucid.cli.reading import about
from pellucid.cli.screen import (
    certainty_columns,
    complain,
    console,
    passes,
)
from pellucid.cli.tables import NBSP, Column, print_table
from pellucid.engine.cost import Cost
from pellucid.errors import FileMissing, InvalidValue, PellucidError, PictureError
from pellucid.explain import Explained, explain_all, versions
from pellucid.explanation import Explanation, maps_of
from pellucid.files import make_folder, mark_results, save_by_suffix
from pellucid.filming import keeps_course, no_course
from pellucid.images import Batch, open_with_others
from pellucid.model import Model
from pellucid.naming import short_names
from pellucid.prediction import Prediction
from pellucid.remarks import by_text, grouped_remarks
from pellucid.render import views
from pellucid.render.style import Style
from pellucid.render.text import number
from pellucid.render.video import check_path
from pellucid.render.words import predicted
from pellucid.request import Request
from pellucid.target import OneTarget

Answer = Explanation | PellucidError


@dataclass(frozen=True)
class Question:
    """One target and one method; `text` is the target as it was written, empty where none was."""

    target: OneTarget
    request: Request
    text: str


class Files:
    """Where the results go: a folder, made when the first one comes; the names are fixed beforehand."""

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        look: Look,
        video: Path | None,
        sources: Sequence[str],
        questions: Sequence[Question],
    ) -> None:
        self.folder, self.kinds, self.look = folder, kinds, look
        self.index = Index(folder)
        pairs = [(s, q) for s in range(len(sources)) for q in range(len(questions))]
        self.pictures = dict(zip(sources, short_names(sources), strict=True))
        short = picture_names(sources)
        names = file_names(
            [(short[s], questions[q].request.title.replace(":", "."), questions[q].text) for s, q in pairs]
        )
        self.names = {(sources[s], q): name for (s, q), name in zip(pairs, names, strict=True)}
        self.films: dict[tuple[str, int], Path] = {}
        if video is not None:
            films = [at for at in self.names if _filmed(questions[at[1]].request)]
            named = {at: video.with_stem(f"{video.stem}.{self.names[at]}") for at in films}
            self.films = named if len(films) > 1 else dict.fromkeys(films, video)

    def write(
        self, source: str, question: int, explanation: Explanation, scale: Mapping[str, Any] | None = None
    ) -> list[str]:
        """One result in all the formats asked for, each file whole or absent; returns their paths.

        Of a method that draws no samples there are no errors, and no file of them; of one that optimises no
        mask there is no film. `scale` is what results share: `vmax`, and whether they are `signed`.
        """
        make_folder(self.folder)
        paths = []
        for kind in self.kinds:
            if kind == "error" and explanation.stderr is None:
                continue
            suffix = "error.png" if kind == "error" else kind
            paths.append(self.folder / f"{self.names[source, question]}.{suffix}")
            if kind == "error":
                save = partial(explanation.uncertainty().save, format="PNG")
                save_by_suffix(paths[-1], {".png": save})
            else:
                explanation.save(paths[-1], **self.look.saving(**scale or {}))
        if (source, question) in self.films:
            paths.append(explanation.save(self.films[source, question]))
        mark_results(paths)
        return [str(path) for path in paths]


@dataclass
class Run:
    """The questions asked about group after group of pictures, and what came of them.

    `made_by` is what decides, besides picture, method and target, what results are: see `index.py`. `known`
    are results of an earlier run that are not made again, `ranges` black and white of pictures that share
    them, as when they are read together.
    """

    model: Model
    questions: Sequence[Question]
    files: Files
    settings: dict[str, Any]
    made_by: dict[str, Any]
    results: list[Row] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    held: list[tuple[str, int, Explanation | Row]] = field(default_factory=list)
    known: dict[tuple[str, int], Row] = field(default_factory=dict)
    answered: bool = False
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def recall(self, sources: Sequence[str]) -> None:
        """Finds the results that an earlier run wrote, of the same requests with the same options.

        Maps that share a scale were drawn together: of those all are there, or none counts.
        """
        together = self._together(sources)
        for index in range(len(self.questions)):
            found: dict[tuple[str, int], Row] = {}
            for source in sources:
                name = self.files.names[source, index]
                row = self.files.index.find(name, self._asked(source, index, together))
                if row is not None:
                    found[source, index] = row
            if len(found) == len(sources) or not self.files.look.shared:
                self.known |= found

    def explain(self, sources: Sequence[str]) -> None:
        """Explains some pictures together and writes the results; a picture that fails is told of.

        Raises:
            PellucidError: a question that has no answer for any of the first pictures: it was refused, and
                nothing is written.
        """
        batches: dict[str, Batch] = {}
        for source in sources:
            if all((source, index) in self.known for index in range(len(self.questions))):
                continue
            try:
                ends = self.ranges.get(source)
                batches[source] = self.model.read(source if ends is None else open_with_others(source, ends))
            except (PictureError, FileMissing) as error:
                self._fail(source, [(error, "")])
        answers: dict[tuple[str, int], Answer] = {}
        for some, asked in self._open(batches):
            answers |= self._ask({source: batches[source] for source in some}, asked)
        for source in sources:
            failed: list[tuple[PellucidError, str]] = []
            for index, question in enumerate(self.questions):
                found = self.known.get((source, index)) or answers.get((source, index))
                if isinstance(found, PellucidError):
                    failed.append((found, question.request.title))
                elif found is None:
                    continue
                elif self.files.look.shared:
                    self.held.append((source, index, found))
                else:
                    self._write(source, index, found)
            self._fail(source, failed)

    def _open(self, sources: Iterable[str]) -> Iterator[tuple[list[str], list[int]]]:
        """Pictures with questions that are left: questions of every request there for every target there."""
        groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for source in sources:
            left = [index for index in range(len(self.questions)) if (source, index) not in self.known]
            groups[tuple(left)].append(source)
        for left_of_some, some in groups.items():
            by_target: dict[str, list[int]] = defaultdict(list)
            for index in left_of_some:
                by_target[self.questions[index].text].append(index)
            by_requests: dict[tuple[str, ...], list[int]] = defaultdict(list)
            for indices in by_target.values():
                by_requests[tuple(self.questions[index].request.title for index in indices)] += indices
            for indices in by_requests.values():
                yield some, indices

    def _ask(self, batches: dict[str, Batch], indices: Sequence[int]) -> dict[tuple[str, int], Answer]:
        asked = [self.questions[index] for index in indices]
        targets = list({question.text: question.target for question in asked}.values())
        requests = list({question.request.title: question.request for question in asked}.values())
        outcomes, cost = explain_all(
            self.model, joined(list(batches.values())), requests, targets, **self.settings
        )
        self.cost += cost
        if not self.answered:
            for outcome in outcomes:
                if isinstance(outcome.answer, PellucidError):
                    raise outcome.answer
        answers = {
            (source, index): answer(outcome, image)
            for image, source in enumerate(batches)
            for index, outcome in zip(indices, outcomes, strict=True)
        }
        self.answered |= any(isinstance(one, Explanation) for one in answers.values())
        return answers

    def finish(self) -> None:
        """Writes what had to wait for a scale that all pictures of one method and target share."""
        shared: dict[int, tuple[dict[str, Any], str]] = {}
        for question in sorted({index for _, index, _ in self.held}):
            maps = [
                maps_of(found)
                for _, index, found in self.held
                if index == question and isinstance(found, Explanation)
            ]
            style = views.shared(Style.of(self.files.look.drawing), maps)
            together = self._together([one for one, index, _ in self.held if index == question])
            shared[question] = {"vmax": style.vmax, "signed": style.signed}, together
        for source, index, found in self.held:
            self._write(source, index, found, *shared[index])

    def _write(
        self,
        source: str,
        index: int,
        found: Explanation | Row,
        scale: Mapping[str, Any] | None = None,
        together: str = "",
    ) -> None:
        if not isinstance(found, Explanation):
            self.results.append(found)
            return
        with unbroken():
            files = self.files.write(source, index, found, scale)
            row = result(source, self.files.pictures[source], self.questions[index], found, files)
            self.files.index.add(self.files.names[source, index], self._asked(source, index, together), row)
            self.results.append(row)

    def _together(self, sources: Sequence[str]) -> str:
        """Which pictures share a scale, if any do."""
        return (
            text_digest(repr([file_facts(one) or one for one in sources])) if self.files.look.shared else ""
        )

    def _asked(self, source: str, index: int, together: str) -> dict[str, Any]:
        """All that decides what one result is."""
        question = self.questions[index]
        film = self.files.films.get((source, index))
        return {
            **self.made_by,
            **request_facts(question.request),
            "target": question.text,
            "picture": [source, file_facts(source), *self.ranges.get(source, ())],
            "film": film and str(film),
            "together": together,
        }

    def _fail(self, source: str, failed: Sequence[tuple[PellucidError, str]]) -> None:
        """Keeps the errors of one picture, each with its method if it is one's, and tells each text once."""
        self.failures += [
            {"picture": source, "method": method, "message": str(error)} for error, method in failed
        ]
        for text, methods in by_text((about(source, error), method) for error, method in failed).items():
            complain(f"{methods}: {text}" if methods else text)

    def report(self, stopped: bool) -> dict[str, Any]:
        """All of it, for scripts."""
        return {
            "model": self.model.name,
            "seed": self.settings["seed"],
            "stopped": stopped,
            "results": self.results,
            "errors": self.failures,
            "cost": vars(self.cost),
            "versions": versions(),
        }

    def show(self) -> None:
        """All of it, for people."""
        if not self.results:
            return
        screen = console()
        print_results(screen, self.results)
        for text in warnings_of(self.results):
            screen.print(text, style="yellow")
        written = [file for row in self.results for file in row["files"]]
        for file in written:
            screen.print(file, soft_wrap=True)
        count = "1 file" if len(written) == 1 else f"{len(written)} files"
        there = f", {len(self.known)} results were there" if self.known else ""
        screen.print(f"{count}, by {self.model.name}: {passes(self.cost)}{there}", style="dim")


def print_results(screen: Console, results: Sequence[Row]) -> None:
    """A row per result; a picture and what it is predicted as are told once."""
    titles, cells = certainty_columns([row["certainty"][0] for row in results])
    columns = [
        Column("picture"),
        Column("prediction", fold=3),
        Column("method"),
        Column("explained", fold=1),
        Column("score", right=True),
        *(Column(title, fold=2, right=True) for title in titles),
    ]
    rows = []
    before = None
    for row, known in zip(results, cells, strict=True):
        new, before = row["picture"] != before or not screen.is_terminal, row["picture"]
        best = predicted([Prediction(**best) for best in row["prediction"][0]], 1).replace(" %", f"{NBSP}%")
        score = f"{row['output']}{NBSP}{number(row['score'][0])}"
        name, seen = (row["name"], best) if new else ("", "")
        rows.append((name, seen, row["title"], row["labels"][0], score, *known))
    print_table(screen, columns, rows)


def warnings_of(results: Sequence[Row]) -> list[str]:
    """What the results warn of, each text once; of several targets, which one it is about."""
    each = Counter((row["picture"], row["title"]) for row in results)
    asked = [
        row["title"] + (f" for {row['labels'][0]}" if each[row["picture"], row["title"]] > 1 else "")
        for row in results
    ]
    return grouped_remarks(
        (
            (text, row["name"], question)
            for row, question in zip(results, asked, strict=True)
            for text in row["warnings"]
        ),
        [row["name"] for row in results],
        asked,
    )


def result(source: str, name: str, question: Question, explanation: Explanation, files: list[str]) -> Row:
    """One result: where its picture and files are, and the explanation as `Explanation.to_dict` has it."""
    return {
        "picture": source,
        "name": name,
        "title": question.request.title,
        "files": files,
        **explanation.to_dict(),
    }


def answer(outcome: Explained, image: int) -> Answer:
    """What an outcome says about one picture of a group, with its share of the group's cost."""
    explanation = outcome.answer
    if isinstance(explanation, PellucidError) or image in outcome.failures:
        return outcome.failures[image]
    index = outcome.images.index(image)
    return replace(explanation[index], cost=explanation.cost.share(len(explanation)))


def joined(batches: Sequence[Batch]) -> Batch:
    """Pictures read one by one, as one batch."""
    return Batch(
        torch.cat([batch.inputs for batch in batches]),
        [picture for batch in batches for picture in batch.pictures],
        [box for batch in batches for box in batch.boxes],
    )


def check_errors(requests: Sequence[Request]) -> None:
    """Refuses files of standard errors where no method draws samples."""
    if not any("samples" in r.options or r.options["smooth"] for r in requests):
        names = ", ".join(request.method.name for request in requests)
        raise InvalidValue(f"--save error needs a method that draws samples, such as rise; got {names}.")


def check_video(video: Path, requests: Sequence[Request]) -> None:
    """Refuses a film of methods that optimise no mask."""
    check_path(video)
    if not any(map(_filmed, requests)):
        raise no_course(", ".join(request.title for request in requests))


def _filmed(request: Request) -> bool:
    return keeps_course(request.method, request.options)
