"""Commands about models: list, show, fetch, bench, compare, embed, similarity; and analogy and rerank."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sememe.cli.hosted import hosted as list_hosted
from sememe.cli.options import InstructionOption, JsonOption, ModelOption, OverwriteOption
from sememe.cli.session import progress_shown, refuse_targets, written
from sememe.cli.show import print_json, print_pairs
from sememe.errors import InputError, one_of
from sememe.models.cards import CARDS, DEFAULT_MODEL
from sememe.models.tokens import SURROGATES
from sememe.space import prompted

if TYPE_CHECKING:
    from sememe.models.encoder import TextEncoder
    from sememe.models.providers.base import HostedEmbedder

model = typer.Typer(help="Know, fetch, try and use models.", rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="A model's name, a name of the hub, or the folder of its files.")]
RoleOption = Annotated[str, typer.Option("--role", help="The prompt before each text: query, document, or none.")]
ROLES = ("none", "query", "document")
MOST_WORDS = 10_000
TERM = re.compile(r"[+-]")
GLUED = re.compile(r"[+-][^\W\d][^\W\d].*")


@contextmanager
def _loaded(name: str) -> Iterator[TextEncoder | HostedEmbedder]:
    """A model, its remarks and its progress on stderr."""
    from sememe.models import load_model

    with progress_shown() as shown, warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        model = load_model(name, progress=shown.fetch)
        shown.stop()
        for remark in remarks:
            typer.echo(f"sememe: {remark.message}", err=True)
        yield model


@model.command("list")
def list_models(
    hosted: Annotated[
        bool, typer.Option("--hosted", help="Those that somebody else runs, with limits and prices.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The models that are known by name. Any other of the hub, and any folder, can be used too."""
    if hosted:
        list_hosted(as_json)
        return
    from sememe.models.catalogue import profiles

    rows: list[dict[str, Any]] = [
        {
            "name": card.name, "dim": card.dim, "max_tokens": card.max_tokens, "millions": 23,
            "licence": card.licence, "languages": list(card.languages), "runs": card.runs, "digest": card.digest,
        }
        for card in CARDS
    ] + [
        {
            "name": one.name, "dim": one.dim, "max_tokens": one.max_tokens, "millions": one.millions,
            "licence": one.licence, "languages": list(one.languages), "runs": one.runs, "digest": "",
        }
        for one in profiles().values()
    ]  # fmt: skip
    if as_json:
        for row in rows:
            print_json(row)
        return
    typer.echo(f"{'name':<48} {'dim':>5} {'tokens':>7} {'million':>8}  {'licence':<13} languages")
    for row in rows:
        typer.echo(
            f"{row['name']:<48} {row['dim']:>5} {row['max_tokens']:>7,} {row['millions']:>8,}  "
            f"{row['licence']:<13} {' '.join(row['languages'])}"
        )


@model.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """What is known of a model: from its card and its files, or from the catalogue while it is not fetched."""
    from sememe.models import card_of
    from sememe.models.cards import find_card
    from sememe.models.catalogue import profile_of
    from sememe.settings import from_environment

    profile = profile_of(name)
    known = {name.lower() for card in CARDS for name in (card.name, *card.aliases)}
    if profile is not None and name.lower() not in known and not Path(name).expanduser().is_dir():
        fields = asdict(profile)
    else:
        card = find_card(name) if name.lower() in known else card_of(name, settings=from_environment())[0]
        fields = {**asdict(card), "digest": card.digest}
        fields["files"] = [f"{file.name} ({file.size:,} bytes, sha256 {file.sha256})" for file in card.files]
        fields["places"] = [str(place) for place in card.places]
    if as_json:
        print_json(fields)
        return
    shown = {key: value for key, value in fields.items() if value not in ((), [], {}, "", None)}
    for key, value in shown.items():
        if isinstance(value, dict):
            print_pairs([(f"{key}.{inner}", _told(one)) for inner, one in value.items()])
        elif isinstance(value, list | tuple):
            print_pairs([(key if i == 0 else "", _told(one)) for i, one in enumerate(value)])
        else:
            print_pairs([(key, value)])


def _told(value: object) -> str:
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)


@model.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names of models.")]) -> None:
    """Bring models into the cache, so that they work offline."""
    from sememe.models import card_of
    from sememe.models.fetch import fetch as bring
    from sememe.settings import from_environment

    settings = from_environment()
    for name in names:
        with progress_shown() as shown:
            card, folder = card_of(name, settings=settings, progress=shown.fetch)
            paths = bring(card, settings=settings, progress=shown.fetch, folder=folder)
        for path in paths.values():
            typer.echo(str(path))


@model.command()
def bench(
    names: Annotated[list[str], typer.Argument(help="Names or folders of models.")], as_json: JsonOption = False
) -> None:
    """How fast models are here: texts a second of one line, and of some 200 words."""
    from sememe.models.trials import speed

    if not as_json:
        typer.echo(f"{'model':<40} {'first':>8} {'lines/s':>9} {'chunks/s':>9}  precision")
    for name in names:
        with _loaded(name) as model:
            found = speed(model)
            if as_json:
                print_json({"model": model.space.model, **asdict(found), "precision": model.precision})
            else:
                typer.echo(
                    f"{model.space.model:<40} {found.first:>7.2f}s {found.lines:>9,.0f} {found.chunks:>9,.1f}  "
                    f"{model.precision}"
                )


@model.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="Names or folders of two or more models.")],
    on: Annotated[Path, typer.Option("--on", help='Lines of {"query": …, "document": …}.', exists=False)],
    as_json: JsonOption = False,
) -> None:
    """How well models find: each query's own document among all documents of the file."""
    from sememe.models.trials import find

    queries, documents, wanted = _pairs(on)
    if not as_json:
        typer.echo(f"{'model':<40} {'first':>7} {'in ten':>7} {'MRR':>7} {'ms/text':>8}")
    for name in names:
        with _loaded(name) as model:
            found = find(model, queries, documents, wanted=wanted)
            if as_json:
                print_json({"model": model.space.model, "documents": len(documents), **asdict(found)})
            else:
                typer.echo(
                    f"{model.space.model:<40} {found.first:>7.3f} {found.in_ten:>7.3f} "
                    f"{found.reciprocal_rank:>7.3f} {found.seconds * 1000:>8.2f}"
                )


def _pairs(path: Path) -> tuple[list[str], list[str], list[int]]:
    """Queries, the distinct documents, and the place of each query's own."""
    queries: list[str] = []
    wanted: list[int] = []
    places: dict[str, int] = {}
    for number, line in enumerate(_lines_of(path), start=1):
        try:
            row = json.loads(line)
            query, document = row["query"], row["document"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{path}, line {number} is no pair; write one like {{"query": "…", "document": "…"}}'
            ) from error
        if not isinstance(query, str) or not isinstance(document, str):
            raise InputError(f"{path}, line {number}: query and document are texts; this line has others")
        queries.append(query)
        wanted.append(places.setdefault(document, len(places)))
    if not queries:
        raise InputError(f'{path} holds no pair; write lines like {{"query": "…", "document": "…"}}')
    return queries, list(places), wanted


def _lines_of(path: Path) -> list[str]:
    try:
        return [line for line in path.expanduser().read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a text file in UTF-8") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start:,}); give a text file in UTF-8") from error


@model.command()
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, the lines of stdin.")] = None,
    model: ModelOption = None,
    role: RoleOption = "none",
    dim: Annotated[int | None, typer.Option("--dim", help="Keep the first dimensions, scaled to unit length.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .npy file instead of JSON lines.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Vectors of texts: one JSON document a line, or a .npy file of float32 rows."""
    given = texts if texts else [line.rstrip("\n") for line in sys.stdin]
    if role not in ROLES:
        raise InputError(f"--role is {role!r}; {one_of(role, ROLES)}")
    if out is not None and out.suffix != ".npy":
        raise InputError(f"--out is {out}; name a file that ends in .npy")
    refuse_targets(out, overwrite=overwrite)
    with _loaded(model or DEFAULT_MODEL) as loaded:
        encode = {"query": loaded.encode_query, "document": loaded.encode_document}.get(role, loaded.encode)
        vectors = encode(given, truncate_dim=dim)
        _tell_truncated(loaded, "" if role == "none" else role, given)
    if out is None:
        for text, vector in zip(given, vectors, strict=True):
            print_json({"text": SURROGATES.sub("\ufffd", text), "vector": vector.tolist()})
        return
    import numpy as np

    written(out, lambda: np.save(out.expanduser(), vectors))
    typer.echo(f"{len(vectors):,} vectors of {vectors.shape[1]:,} dimensions in {out}", err=True)


def _tell_truncated(model: TextEncoder | HostedEmbedder, role: str, texts: list[str]) -> None:
    """Which texts a local model did not read to their end, on stderr; a provider's tokens can only be guessed."""
    from sememe.models.encoder import TextEncoder

    if not isinstance(model, TextEncoder):
        return
    counted, prefix, most = model.counter.count, model.prompt(role), model.max_tokens
    specials = model.reserved - counted(model.prompt("document"))
    for number, text in enumerate(texts, start=1):
        read = SURROGATES.sub("\ufffd", prompted(prefix, text))
        # No token is shorter than a character.
        if len(read) + specials > most and (tokens := counted(read) + specials) > most:
            typer.echo(
                f"sememe: text {number} has {tokens:,} tokens, {model.space.model} reads {most:,}: the rest is not in "
                "its vector", err=True,
            )  # fmt: skip


@model.command()
def similarity(
    a: Annotated[str, typer.Argument(help="One text.")],
    b: Annotated[str, typer.Argument(help="Another text.")],
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """How alike two texts are: cosine, dot product and Euclidean distance of their vectors."""
    from sememe.models.trials import likeness

    with _loaded(model or DEFAULT_MODEL) as loaded:
        found = likeness(*loaded.encode([a, b]))
    if as_json:
        print_json(asdict(found))
    else:
        print_pairs([(name, f"{value:.4f}") for name, value in asdict(found).items()])


def analogy(
    terms: Annotated[list[str], typer.Argument(help="Words with + and - between them: king - man + woman.")],
    words: Annotated[Path | None, typer.Option("--words", help="Words to choose from, one on a line.")] = None,
    model: ModelOption = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many answers at most.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """What is to one word as another is to a third. Sentence models do this badly; see docs/models.md."""
    from sememe.models.trials import analogy as solve

    if k < 1:
        raise InputError(f"--k is {k}; ask for at least one answer")
    signed = _terms(terms)
    given = _lines_of(words) if words else None
    with _loaded(model or DEFAULT_MODEL) as loaded:
        found = solve(loaded, signed, _vocabulary(loaded) if given is None else given, k=k)
    for word, score in found:
        if as_json:
            print_json({"word": word, "score": score})
        else:
            typer.echo(f"{score:.3f}  {word}")


def rerank(
    query: Annotated[str, typer.Argument(help="What the texts should answer.")],
    model: Annotated[str, typer.Option("--model", help="A reranker: a folder, a name of the hub, or PROVIDER:NAME.")],
    texts: Annotated[Path | None, typer.Argument(help="A file of texts, one on a line; without it, stdin.")] = None,
    instruction: InstructionOption = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many at most, the best first; 0 for all.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Put texts in the order in which they answer a query, with scores between 0 and 1."""
    from sememe.models import load_reranker

    if k < 0:
        raise InputError(f"--k is {k}; ask for at least one text, or 0 for all")
    lines = _lines_of(texts) if texts else [line for line in sys.stdin.read().splitlines() if line.strip()]
    with progress_shown() as shown:
        scores = load_reranker(model, progress=shown.fetch).rerank(query, lines, instruction=instruction)
    order = (-scores).argsort(kind="stable")[: k or len(lines)]
    for place in order.tolist():
        if as_json:
            print_json({"place": place + 1, "score": float(scores[place]), "text": lines[place]})
        else:
            typer.echo(f"{scores[place]:.4f}  {lines[place]}")


def _terms(parts: list[str]) -> list[tuple[int, str]]:
    """Signs and words of "king - man + woman", whether the shell split it or not."""
    tokens = [token for part in " ".join(parts).split() for token in unglued(part)]
    signed: list[tuple[int, str]] = []
    sign: int | None = 1
    for token in tokens:
        if TERM.fullmatch(token):
            if sign is not None and signed:
                raise InputError(f"{' '.join(parts)!r} has two signs in a row; write: king - man + woman")
            sign = 1 if token == "+" else -1
        elif sign is None:
            raise InputError(f"{' '.join(parts)!r} lacks a sign before {token!r}; write: king - man + woman")
        else:
            signed.append((sign, token))
            sign = None
    if len(signed) < 2 or sign is not None:
        raise InputError(f"{' '.join(parts)!r} is no analogy; write: king - man + woman")
    return signed


def unglued(term: str) -> list[str]:
    """A term and the sign that was written right before it: "-man" is "-" and "man", "-k" an option."""
    return [term[0], term[1:]] if GLUED.fullmatch(term) else [term]


class TermsFirst(TyperCommand):
    """Reads "-man" as a sign and a word, not as the option -m with a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is left of the arguments; words lose their signs first."""
        return super().parse_args(ctx, [piece for term in args for piece in unglued(term)])


PARSERS = {"analogy": TermsFirst}
"""What reads the arguments of a command, where that is not the usual parser."""


def _vocabulary(model: TextEncoder | HostedEmbedder) -> list[str]:
    """The first whole words that the model's tokenizer knows: its commonest, as vocabularies are in that order."""
    from sememe.models.encoder import TextEncoder

    if not isinstance(model, TextEncoder):
        raise InputError(f"{model.space.model} does not tell which words it knows; name them with --words FILE")
    words = [word for word in model.words() if len(word) > 2][:MOST_WORDS]
    typer.echo(f"Choosing from {len(words):,} words of the model's own; name others with --words FILE.", err=True)
    return words
