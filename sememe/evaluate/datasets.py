"""Queries and what would answer them, in the forms that people have: BEIR folders, TREC judgements, TREC runs.

A BEIR folder (Thakur et al. 2021) holds `corpus.jsonl` and `queries.jsonl` (`_id`, `title`, `text`) and judgements in
`qrels/test.tsv` (query id, document id, grade; one line of names above). TREC's judgements are lines of
`query 0 document grade`, its runs lines of `query Q0 document rank score tag`. What a file holds that cannot be used
is counted and said; a line that is no line of its kind ends the reading, with its number.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sememe.errors import InputError
from sememe.types import CHUNK_PREFIX

Unit = Literal["document", "chunk"]
Grades = Mapping[str, Mapping[str, int]]

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
HEADER = ("query-id", "corpus-id", "score")
LARGEST_GRADE = 1_000_000
CHUNKS_ELSEWHERE = "the judged ids are those of chunks, which are other chunks in any collection but their own"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Queries by id, and for each the grades of what answers it: keys of documents, or ids of chunks, by `unit`.

    `origins` says of a query where its judgements came from; `remarks` what was left out, and why.
    """

    name: str
    queries: Mapping[str, str]
    grades: Grades
    unit: Unit = "document"
    origins: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def query_id(text: str) -> str:
    """The id of a query that has none: the same text always has the same."""
    return f"q{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def usable(
    name: str, queries: Iterable[tuple[str, str]], judged: Iterable[tuple[str, str, int]], *, unit: Unit = "document",
    origins: Mapping[str, str] | None = None, remarks: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    """The queries that can be asked and judged, with remarks on the others. Raises InputError when none is left.

    Of two queries with one id the first is kept, of two grades for one pair the last.
    """
    said, texts = Counter[str](), dict[str, str]()
    for key, text in queries:
        said["queries have the id of an earlier one"] += key in texts
        texts.setdefault(key, text)
    grades: dict[str, dict[str, int]] = {key: {} for key in texts}
    for key, document, grade in judged:
        if key in grades:
            said["judgements were given twice; the last ones count"] += document in grades[key]
            grades[key][document] = grade
        else:
            said["judgements are on queries that are not there"] += 1
    for key, text in list(texts.items()):
        reason = _unusable(text, grades[key])
        if reason:
            said[reason] += 1
            del texts[key], grades[key]
    remarks = (*remarks, *(f"{count:,} {what}" for what, count in said.items() if count))
    if not texts:
        raise InputError(f"{name} has no query that can be judged ({'; '.join(remarks) or 'it is empty'})")
    return Dataset(name, texts, grades, unit, origins or {}, remarks)


def _by_unit(data: Dataset) -> Dataset:
    """The same, judged by chunk where all ids are those of chunks, which no document can have."""
    if not all(key.startswith(CHUNK_PREFIX) for found in data.grades.values() for key in found):
        return data
    return replace(data, unit="chunk", remarks=(*data.remarks, CHUNKS_ELSEWHERE))


def _unusable(text: str, grades: Mapping[str, int]) -> str:
    if not text.strip():
        return "queries are empty and left out"
    if not grades:
        return "queries have no judgement and are left out"
    return "" if any(grade > 0 for grade in grades.values()) else "queries have nothing relevant and are left out"


# --- BEIR ------------------------------------------------------------------------------------------------------


def read_beir(folder: Path, *, split: str = "test") -> Dataset:
    """The queries and judgements of a BEIR folder; its corpus is read by `corpus_of`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; a BEIR folder holds {CORPUS}, {QUERIES} and qrels/{split}.tsv")
    queries = ((key, text) for key, _, text in _entries(_part(folder, QUERIES)))
    return _by_unit(usable(folder.name, queries, _tab_separated(_part(folder, f"qrels/{split}.tsv"))))


def corpus_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The documents of a BEIR folder as records for `Collection.add`; those without text are left out."""
    for key, title, text in _entries(_part(folder, CORPUS)):
        if text.strip():
            yield {"id": key, "title": title, "text": text}


def write_beir(
    folder: Path, dataset: Dataset, corpus: Iterable[tuple[str, str, str]], *, split: str = "test"
) -> dict[str, int]:
    """Write a BEIR folder; `corpus` gives id, title and text. Returns how many of each were written."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = _write(
        folder / CORPUS, (_line({"_id": key, "title": title, "text": text}) for key, title, text in corpus)
    )
    queries = _write(folder / QUERIES, (_line({"_id": key, "text": text}) for key, text in dataset.queries.items()))
    rows = (
        f"{_plain(key)}\t{_plain(document)}\t{grade}\n"
        for key, found in dataset.grades.items() for document, grade in found.items()
    )  # fmt: skip
    judged = _write(folder / "qrels" / f"{split}.tsv", rows, head="\t".join(HEADER) + "\n")
    return {"documents": documents, "queries": queries, "judgements": judged}


def _part(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder} has no {name}; a BEIR folder holds {CORPUS}, {QUERIES} and qrels/test.tsv")
    return path


def _entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Id, title and text of every line."""
    for number, entry in json_lines(path):
        key, title, text = entry.get("_id"), entry.get("title") or "", entry.get("text")
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if not isinstance(key, str) or not key or not isinstance(text, str) or not isinstance(title, str):
            raise InputError(f'line {number} of {path} is {entry}; write {{"_id": "…", "text": "…"}}'[:400])
        yield key, title, text


def _tab_separated(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in lines_of(path):
        fields = line.split("\t")
        if number == 1 and len(fields) == len(HEADER) and not _is_grade(fields[2]):
            continue
        if len(fields) != len(HEADER) or not _is_grade(fields[2]):
            raise InputError(f"line {number} of {path} is {line!r}; write query, document and grade with tabs between")
        yield fields[0], fields[1], int(fields[2])


# --- TREC ------------------------------------------------------------------------------------------------------


def read_trec(queries: Path, qrels: Path) -> Dataset:
    """Queries as lines of JSON (`_id`, `text`), and TREC judgements."""
    return _by_unit(usable(qrels.name, ((key, text) for key, _, text in _entries(queries)), read_qrels(qrels)))


def read_qrels(path: Path) -> list[tuple[str, str, int]]:
    """TREC judgements: query id, document id, grade."""
    found = []
    for number, line in lines_of(path):
        fields = line.split()
        if len(fields) != 4 or not _is_grade(fields[3]):
            raise InputError(f"line {number} of {path} is {line!r}; write: query 0 document grade")
        found.append((fields[0], fields[2], int(fields[3])))
    return found


def write_qrels(path: Path, grades: Grades) -> int:
    """Write TREC judgements; returns how many."""
    lines = (f"{_word(q)} 0 {_word(d)} {grade}\n" for q, found in grades.items() for d, grade in found.items())
    return _write(path, lines)


def read_run(path: Path) -> dict[str, list[str]]:
    """The rankings of a TREC run, by query: by score, equal ones by id, both from the highest, as trec_eval has it."""
    found: dict[str, list[tuple[float, str]]] = {}
    for number, line in lines_of(path):
        fields = line.split()
        try:
            query, _, document, _, score, _ = fields
            found.setdefault(query, []).append((float(score), document))
        except ValueError as error:
            raise InputError(f"line {number} of {path} is {line!r}; write: query Q0 document rank score tag") from error
    return {query: list(dict.fromkeys(one for _, one in sorted(hits, reverse=True))) for query, hits in found.items()}


def write_run(path: Path, rankings: Mapping[str, Sequence[str]], *, tag: str = "sememe") -> int:
    """Write a TREC run; returns how many lines.

    The score counts down to 1: whoever reads a run puts it in the order of its scores, and equal ones, or such as are
    equal in float32, would change places.
    """
    return _write(
        path,
        (
            f"{_word(query)} Q0 {_word(document)} {rank} {len(ranking) - rank + 1} {tag}\n"
            for query, ranking in rankings.items() for rank, document in enumerate(ranking, start=1)
        ),
    )  # fmt: skip


# --- lines -----------------------------------------------------------------------------------------------------


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a file, one a line, each with the number of its line. Raises InputError."""
    for number, line in lines_of(path):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is not JSON ({error}); repair it") from error
        if not isinstance(found, dict):
            raise InputError(f"line {number} of {path} is no JSON object; repair it")
        yield number, found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers. Raises InputError."""
    try:
        with path.expanduser().open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}); convert it") from error


def _write(path: Path, lines: Iterable[str], *, head: str = "") -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        for line in lines:
            file.write(line)
            count += 1
    return count


def _line(fields: dict[str, str]) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _is_grade(text: str) -> bool:
    digits = text.strip().removeprefix("-")
    return digits.isascii() and digits.isdecimal() and int(digits) <= LARGEST_GRADE


def _plain(key: str) -> str:
    """An id between tabs."""
    if any(sign in key for sign in "\t\r\n"):
        raise InputError(f"the id {key!r} holds a tab or a line end, which has no place in this form; rename it")
    return key


def _word(key: str) -> str:
    """An id between blanks."""
    if not key or any(map(str.isspace, key)):
        raise InputError(
            f"the id {key!r} holds white space, which TREC's form cannot hold; write a BEIR folder instead"
        )
    return key
