"""Rerankers that run here: a query and a text are read together, and one number says how well the text answers.

Cross-encoders read the two as a pair (Nogueira and Cho 2019, arXiv:1901.04085), decoders as a question that they
answer with yes or no. Scores are the sigmoid of the model's own number, so they lie between 0 and 1 whatever the model.
This file knows tokens and cards; what a text is part of it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from sememe.errors import InputError, ModelError
from sememe.models.cards import TOKENIZER, Card, Step
from sememe.models.folder import card_files
from sememe.models.heads import Opened, classifier, open_folder, word
from sememe.models.network import Network, windows
from sememe.models.tokens import read_tokenizer
from sememe.settings import Settings
from sememe.types import Ids, Scores, Vectors


@dataclass(frozen=True, slots=True)
class Template:
    """How a decoder is asked. Every piece is tokenised by itself; the one with the {text} is cut to what room is left.

    The score is the logit of the first of `words` as the next token, less that of the second where there are two.
    `instruction` is what {instruction} stands for when nobody says; empty for a model that is told nothing.
    """

    pieces: tuple[str, ...]
    words: tuple[str, ...]
    max_tokens: int
    instruction: str = ""


TEMPLATES: Mapping[str, Template] = {
    # As the model's makers ask it: Qwen/Qwen3-Reranker-0.6B.
    "qwen3": Template(
        (
            '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct '
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {text}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        ("yes", "no"), 8192, "Given a web search query, retrieve relevant passages that answer the query",
    ),
    # As BAAI/bge-reranker-v2-gemma is asked.
    "gemma": Template(
        (
            "<bos>", "A: {query}", "\n", "B: {text}", "\n",
            "Given a query A and a passage B, determine whether the passage contains an answer to the query by "
            "providing a prediction of either 'Yes' or 'No'.",
        ),
        ("Yes",), 1024,
    ),
}  # fmt: skip
"""The templates of decoders by their `model_type`."""

QUERY_SHARE = 3 / 4
"""Of the room, at most, for a query in a piece of its own: a passage has to have some beside it."""


class LocalReranker:
    """A transformer that scores texts for a query. Safe to call from several threads of one process."""

    def __init__(
        self, card: Card, files: Mapping[str, Path], *, settings: Settings, template: Template | None = None
    ) -> None:
        self.name = card.name
        self._network = Network(card, files, settings=settings)
        self._template = template

    @property
    def max_tokens(self) -> int:
        """What the model reads of a query and a text together, special tokens included."""
        return self._network.card.max_tokens

    @property
    def precision(self) -> str:
        """What the arithmetic runs in: "f32" or "bf16"."""
        return self._network.precision

    def rerank(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """How well each text answers the query: (n,) float32 between 0 and 1, in the order of the texts.

        What is longer than the model reads is cut, the longer of the two first. Raises InputError for an empty query,
        and for an instruction to a model that was never told any.
        """
        if not query.strip():
            raise InputError("the query is empty; say what the texts are ranked for")
        if instruction is not None and not (self._template and self._template.instruction):
            raise InputError(f"{self.name} was not trained to be told an instruction; leave it out")
        scores = np.zeros(len(texts), np.float32)
        asked = self._network.clean(query)[0]
        for start, stop in windows(texts, self._network.settings.window):
            part = [self._network.clean(text)[0] for text in texts[start:stop]]
            for rows, logits in self._asked(asked, part, instruction):
                scores[rows + start] = _probability(logits)
        return scores

    def _asked(self, query: str, texts: list[str], instruction: str | None) -> Iterator[tuple[Ids, Vectors]]:
        if self._template is not None:
            said = {"query": query, "instruction": instruction or self._template.instruction}
            return self._network.run(_filled(self._template, self._network, texts, said=said))
        encodings, _ = self._network.tokenised([(query, text) for text in texts])
        second = np.array([e.type_ids.index(1) if 1 in e.type_ids else len(e) for e in encodings])
        return self._network.run([encoding.ids for encoding in encodings], {"second": second})


def _filled(template: Template, network: Network, texts: list[str], *, said: Mapping[str, str]) -> list[list[int]]:
    """The tokens of a template for each text, as many as the model reads."""
    encode = network.tokenizer.encode_batch_fast
    place = next(i for i, piece in enumerate(template.pieces) if "{text}" in piece)
    others = [piece.format(**said) if i != place else "" for i, piece in enumerate(template.pieces)]
    fixed = [encoding.ids for encoding in encode(others, add_special_tokens=False)]
    asks = ["{query}" in piece and i != place for i, piece in enumerate(template.pieces)]
    room = network.card.max_tokens - sum(len(ids) for ids, asked in zip(fixed, asks, strict=True) if not asked)
    most = max(0, int(room * QUERY_SHARE))
    fixed = [ids[:most] if asked else ids for ids, asked in zip(fixed, asks, strict=True)]
    room = max(0, network.card.max_tokens - sum(len(ids) for ids in fixed))
    bodies = encode([template.pieces[place].format(text=text, **said) for text in texts], add_special_tokens=False)
    before, after = list(chain(*fixed[:place])), list(chain(*fixed[place:]))
    return [[*before, *body.ids[:room], *after] for body in bodies]


def _probability(logits: Vectors) -> Scores:
    """The sigmoid of one number, or of what the first exceeds the second by."""
    wide = logits.astype(np.float64)
    margin = wide[:, 0] - wide[:, 1] if wide.shape[1] == 2 else wide[:, 0]
    scores: Scores = (1 / (1 + np.exp(-np.clip(margin, -80, 80)))).astype(np.float32)
    return scores


def open_reranker(folder: Path, *, name: str, revision: str = "", settings: Settings) -> LocalReranker:
    """The reranker in a folder, as transformers and sentence-transformers save it. Raises NotFound or ModelError."""
    found = open_folder(folder)
    template, pooling, steps = None, "lasttoken", _answer(found)
    if steps:
        template = _template(found)
    else:
        pooling, steps = classifier(found)
        if steps[-1].width != 1:
            raise ModelError(
                f"{found.folder} sorts pairs into {steps[-1].width} classes, a reranker gives one number; choose a "
                "model that was trained to rank"
            )
    limit = found.max_tokens if template is None else min(found.max_tokens, template.max_tokens)
    card = Card(
        name=name, revision=revision, dim=steps[-1].width, max_tokens=limit, pooling=pooling, normalize=False,
        architecture=found.architecture, files=card_files(found.folder, found.inner), steps=steps,
        lower_case=bool(found.limits.get("do_lower_case", False)), segments=_segments(found),
    )  # fmt: skip
    files = {file.name: found.folder / file.name for file in card.files}
    return LocalReranker(card, files, settings=settings, template=template)


def _segments(found: Opened) -> bool:
    """Whether the model is told which text of a pair a token belongs to."""
    inputs = found.limits.get("model_input_names") or ["token_type_ids"]
    return found.architecture.token_types > 1 and "token_type_ids" in inputs


def _template(found: Opened) -> Template:
    kind = found.architecture.family
    if kind not in TEMPLATES:
        raise ModelError(f"{found.folder} is a decoder of the family {kind}; known to rank: {', '.join(TEMPLATES)}")
    return TEMPLATES[kind]


def _answer(found: Opened) -> tuple[Step, ...]:
    """For a decoder that answers in words: the product with the vectors of those words; nothing for any other model."""
    given = found.module("LogitScore")
    names = found.config.get("architectures") or [""]
    if given is None and not str(names[0]).endswith("ForCausalLM"):
        return ()
    if given:
        ids = tuple(given[name] for name in ("true_token_id", "false_token_id") if given.get(name) is not None)
    else:
        tokenizer = read_tokenizer(found.folder / TOKENIZER)
        ids = tuple(tokenizer.token_to_id(one) for one in _template(found).words)
    if not ids or not all(isinstance(one, int) and one >= 0 for one in ids):
        raise ModelError(f"{found.folder} does not know the words that its answers are: {_template(found).words}")
    return (word(found, "lm_head", ids),)
