"""Hold what providers' SDKs send, and what the stand-in answers, against the providers' public OpenAPI files.

Usage: python tests/reference/compare_wires.py FOLDER

FOLDER holds copies of the files, as many as there are, by these names: openai.yaml (github.com/openai/openai-openapi),
mistral.yaml (mistralai/platform-docs-public), ollama.yaml (ollama/ollama, docs/openapi.yaml), tei.json
(huggingface/text-embeddings-inference, docs/openapi.json) and cohere.yaml (cohere-ai/cohere-developer-experience).
Needs jsonschema and PyYAML, and ends with an error of jsonschema where something differs: a request may have no field
that a file does not name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from providers_server import Seen, StandIn, serving

import sememe
from sememe.models.providers.rerank import load_reranker
from sememe.settings import Hosted, Settings

PNG = b"\x89PNG\r\n\x1a\n"
MODELS = {
    "openai": ("openai:text-embedding-3-small,dimensions=64",),
    "mistral": ("mistral:codestral-embed,dimensions=64",),
    "ollama": ("ollama:nomic-embed-text,dimensions=64",),
    "tei": ("tei:bge,dimensions=64",),
    "cohere": ("cohere:embed-v4.0,dimensions=256", "cohere:embed-english-v3.0"),
}
RERANKERS = {"tei": "tei:bge-reranker", "cohere": "cohere:rerank-v4.0-fast"}
KEPT = (
    "type", "enum", "const", "required", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum",
    "anyOf", "oneOf", "allOf",
)  # fmt: skip


def main() -> None:
    files = [path for path in sorted(Path(sys.argv[1]).iterdir()) if path.stem in MODELS]
    if not files:
        sys.exit(f"{sys.argv[1]} holds none of {', '.join(MODELS)}")
    for path in files:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        with serving() as server:
            ask(path.stem, server)
            for seen in server.seen:
                compare(spec, seen)
            print(f"{path.name}, version {spec['info']['version']}: {len(server.seen)} requests and answers agree")


def ask(provider: str, server: StandIn) -> None:
    """Let every model of a provider embed, and its reranker rank."""
    settings = Settings(hosted=Hosted(environ=server.environ()))
    for name in MODELS[provider]:
        model = sememe.load_model(name, settings=settings)
        model.encode_document(["tea", "coffee"])
        model.encode_query("tea")
        if provider == "cohere":
            model.encode_image(PNG)
    if provider in RERANKERS:
        load_reranker(RERANKERS[provider], settings=settings).rerank("tea", ["tea", "coffee"])


def compare(spec: dict[str, Any], seen: Seen) -> None:
    """Raise jsonschema's error where a request or its answer is not as the file describes it."""
    path = next(path for path in spec["paths"] if seen.path.endswith(path))
    jsonschema.validate(seen.body, schema(spec, body(spec, path), closed=True))
    described = schema(spec, answer(spec, path), closed=False)
    # Cohere's file asks for an `api_version` beside the vectors, which it describes, and the SDK reads, in `meta`.
    described["required"] = [n for n in described.get("required", ()) if n in described.get("properties", {})]
    jsonschema.validate(as_numbers(seen.answer), described)


def as_numbers(given: Any) -> Any:
    """An answer whose vectors in base64, which the files do not mention, are lists of numbers."""
    if isinstance(given, dict) and isinstance(given.get("data"), list):
        data = [{**item, "embedding": [0.5] if isinstance(item["embedding"], str) else item["embedding"]}
                for item in given["data"]]  # fmt: skip
        return {**given, "data": data}
    return given


def body(spec: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of what is posted."""
    return dict(spec["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])


def answer(spec: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of what comes back."""
    return dict(spec["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"])


def schema(spec: dict[str, Any], given: dict[str, Any], *, closed: bool) -> dict[str, Any]:
    """A schema without references and words; `closed` forbids the fields that it does not name."""
    while "$ref" in given:
        found: Any = spec
        for part in given["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        given = found
    made: dict[str, Any] = {}
    for key in KEPT:
        if key in given:
            value = given[key]
            made[key] = [schema(spec, one, closed=closed) for one in value] if key.endswith("Of") else value
    if "items" in given:
        made["items"] = schema(spec, given["items"], closed=closed)
    if "properties" in given:
        made["properties"] = {
            name: schema(spec, one, closed=closed) for name, one in sorted(given["properties"].items())
        }
        if closed and "allOf" not in given:
            made["additionalProperties"] = False
    return {"anyOf": [made, {"type": "null"}]} if given.get("nullable") else made


if __name__ == "__main__":
    main()
