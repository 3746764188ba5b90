"""Hosted models as data: providers, models, dimensions, limits and prices, with the date of the figures.

Prices are US dollars for a million tokens of text, limits are those of the providers' documentation; a figure that
nobody vouches for is None. Nothing here was asked of a provider: `docs/hosted.md` says what was verified and how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AS_OF = "2026-11-21"
"""The day on which the figures below were taken down."""

UNKNOWN_TOKENS = 512
"""What a model that nobody knows is trusted to read at once; `,tokens=8192` behind its name says otherwise."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom to ask. `keys` and `url_name` are environment names; `items` and `tokens` bound one request.

    `open` says that it works without a key; `url` is where it is if nothing else says so (None: the SDK knows).
    """

    name: str
    extra: str
    keys: tuple[str, ...]
    url_name: str
    items: int
    tokens: int | None = None
    url: str | None = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model behind a name. `dims` are its dimensions, the default first; empty when they are found by asking.

    With `smallest`, every dimension from there to the largest of `dims` can be had. `tokens` is the limit of an
    input, `request_tokens` that of a request where it is not the provider's. `price` is in dollars a million tokens;
    `prompts` are put before a text by us, while input types and tasks are the provider's own business. `cuts` says
    that a longer input is cut without a word, where others refuse it; `contextual` that it can embed the chunks of a
    document together.
    """

    provider: str
    name: str
    dims: tuple[int, ...] = ()
    smallest: int | None = None
    tokens: int = UNKNOWN_TOKENS
    request_tokens: int | None = None
    price: float | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    modalities: tuple[str, ...] = ("text",)
    kind: Literal["embed", "rerank"] = "embed"
    cuts: bool = False
    task: str | None = None
    contextual: bool = False
    known: bool = True


PROVIDERS = (
    Provider("openai", "openai", ("OPENAI_API_KEY",), "OPENAI_BASE_URL", items=2048, tokens=300_000),
    Provider("cohere", "cohere", ("CO_API_KEY", "COHERE_API_KEY"), "CO_API_URL", items=96),
    Provider("google", "google", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "GOOGLE_GEMINI_BASE_URL", items=100),
    Provider("jina", "jina", ("JINA_API_KEY",), "JINA_BASE_URL", items=512, url="https://api.jina.ai/v1"),
    Provider("voyage", "voyage", ("VOYAGE_API_KEY",), "VOYAGE_BASE_URL", items=1000, tokens=120_000),
    Provider("mistral", "mistral", ("MISTRAL_API_KEY",), "MISTRAL_BASE_URL", items=512, tokens=16_384),
    Provider(
        "ollama", "ollama", ("OLLAMA_API_KEY",), "OLLAMA_HOST", items=64, url="http://127.0.0.1:11434", open=True
    ),
    Provider("tei", "tei", ("TEI_API_KEY",), "TEI_BASE_URL", items=32, tokens=16_384,
             url="http://127.0.0.1:8080", open=True),
)  # fmt: skip

_TEXT_IMAGE = ("text", "image")
_VOYAGE = (1024, 256, 512, 2048)
_GEMINI_2 = (("document", "title: none | text: "), ("query", "task: search result | query: "))

MODELS = (
    HostedModel("openai", "text-embedding-3-small", (1536,), 1, 8192, price=0.02),
    HostedModel("openai", "text-embedding-3-large", (3072,), 1, 8192, price=0.13),
    HostedModel("openai", "text-embedding-ada-002", (1536,), None, 8191, price=0.10),
    HostedModel(
        "cohere", "embed-v5.0-pro", (2048, 256, 512, 768, 1024, 1536), tokens=128_000, price=0.12,
        modalities=_TEXT_IMAGE,
    ),
    HostedModel(
        "cohere", "embed-v5.0-fast", (2048, 256, 512, 768, 1024, 1536), tokens=128_000, price=0.08,
        modalities=_TEXT_IMAGE,
    ),
    HostedModel(
        "cohere", "embed-v4.0", (1536, 256, 512, 1024), tokens=128_000, price=0.12, modalities=_TEXT_IMAGE
    ),
    HostedModel("cohere", "embed-english-v3.0", (1024,), tokens=512, price=0.10, modalities=_TEXT_IMAGE),
    HostedModel("cohere", "embed-multilingual-v3.0", (1024,), tokens=512, price=0.10, modalities=_TEXT_IMAGE),
    HostedModel("cohere", "embed-english-light-v3.0", (384,), tokens=512, price=0.10, modalities=_TEXT_IMAGE),
    HostedModel("cohere", "embed-multilingual-light-v3.0", (384,), tokens=512, price=0.10, modalities=_TEXT_IMAGE),
    HostedModel("cohere", "rerank-v5.0-pro", tokens=32_768, kind="rerank"),
    HostedModel("cohere", "rerank-v5.0-fast", tokens=32_768, kind="rerank"),
    HostedModel("cohere", "rerank-v4.0-pro", tokens=32_768, kind="rerank"),
    HostedModel("cohere", "rerank-v4.0-fast", tokens=32_768, kind="rerank"),
    HostedModel("cohere", "rerank-v3.5", tokens=4096, kind="rerank"),
    HostedModel("google", "gemini-embedding-001", (3072,), 128, 2048, price=0.15, cuts=True),
    HostedModel(
        "google", "gemini-embedding-2", (3072,), 128, 8192, price=0.20, prompts=_GEMINI_2, modalities=_TEXT_IMAGE,
        cuts=True,
    ),
    HostedModel("jina", "jina-embeddings-v5-text-small", (1024,), 32, 32_768, task="retrieval"),
    HostedModel("jina", "jina-embeddings-v5-text-nano", (768,), 32, 8192, task="retrieval"),
    HostedModel(
        "jina", "jina-embeddings-v4", (2048,), 128, 32_768, modalities=_TEXT_IMAGE, task="retrieval",
        contextual=True,
    ),
    HostedModel("jina", "jina-embeddings-v3", (1024,), 32, 8192, task="retrieval", contextual=True),
    HostedModel(
        "jina", "jina-clip-v2", (1024, 32, 64, 128, 256, 512, 768), tokens=8192, modalities=_TEXT_IMAGE,
        task="retrieval",
    ),
    HostedModel("jina", "jina-reranker-v3", tokens=131_072, kind="rerank"),
    HostedModel("jina", "jina-reranker-v2-base-multilingual", tokens=1024, kind="rerank"),
    HostedModel("voyage", "voyage-4-large", _VOYAGE, tokens=32_000, price=0.12),
    HostedModel("voyage", "voyage-4", _VOYAGE, tokens=32_000, request_tokens=320_000, price=0.06),
    HostedModel("voyage", "voyage-4-lite", _VOYAGE, tokens=32_000, request_tokens=1_000_000, price=0.02),
    HostedModel("voyage", "voyage-3-large", _VOYAGE, tokens=32_000, price=0.18),
    HostedModel("voyage", "voyage-3.5", _VOYAGE, tokens=32_000, request_tokens=320_000, price=0.06),
    HostedModel("voyage", "voyage-3.5-lite", _VOYAGE, tokens=32_000, request_tokens=1_000_000, price=0.02),
    HostedModel("voyage", "voyage-code-4", _VOYAGE, tokens=32_000, price=0.12),
    HostedModel("voyage", "voyage-code-3", _VOYAGE, tokens=32_000, price=0.18),
    HostedModel("voyage", "voyage-context-4", _VOYAGE, tokens=32_000, price=0.12, contextual=True),
    HostedModel("voyage", "voyage-context-3", _VOYAGE, tokens=32_000, price=0.18, contextual=True),
    HostedModel("voyage", "voyage-multimodal-3.5", _VOYAGE, tokens=32_000, price=0.12, modalities=_TEXT_IMAGE),
    HostedModel("voyage", "voyage-multimodal-3", (1024,), tokens=32_000, price=0.12, modalities=_TEXT_IMAGE),
    HostedModel("voyage", "rerank-3", tokens=32_000, price=0.05, kind="rerank"),
    HostedModel("voyage", "rerank-3-lite", tokens=32_000, price=0.02, kind="rerank"),
    HostedModel("voyage", "rerank-2.5", tokens=32_000, price=0.05, kind="rerank"),
    HostedModel("voyage", "rerank-2.5-lite", tokens=32_000, price=0.02, kind="rerank"),
    HostedModel("mistral", "mistral-embed", (1024,), tokens=8192, price=0.10),
    HostedModel("mistral", "codestral-embed", (1536, 3072), 1, 8192, price=0.15),
)  # fmt: skip
