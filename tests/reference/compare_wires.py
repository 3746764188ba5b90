"""Hold what Cohere's SDK sends, and what the stand-in answers, against a local copy of Cohere's OpenAPI file.

Usage: python tests/reference/compare_wires.py cohere-openapi.yaml

The file is in github.com/cohere-ai/cohere-developer-experience. Its licence does not allow to copy it or parts of it,
so that it is not in wires.json as the others are. Ends with an error of jsonschema where something differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jsonschema
import yaml
from make_wires import answer, body, schema

sys.path.insert(0, str(Path(__file__).parents[1]))
from providers_server import serving

import sememe
from sememe.models.providers.rerank import load_reranker
from sememe.settings import Hosted, Settings

PNG = b"\x89PNG\r\n\x1a\n"


def main() -> None:
    spec = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with serving() as server:
        settings = Settings(hosted=Hosted(environ=server.environ()))
        for name in ("cohere:embed-v4.0,dimensions=256", "cohere:embed-english-v3.0"):
            model = sememe.load_model(name, settings=settings)
            model.encode_document(["tea", "coffee"])
            model.encode_query("tea")
            model.encode_image(PNG)
        load_reranker("cohere:rerank-v4.0-fast", settings=settings).rerank("tea", ["tea", "coffee"])
        for seen in server.seen:
            jsonschema.validate(seen.body, schema(spec, body(spec, seen.path), closed=True))
            described = schema(spec, answer(spec, seen.path), closed=False)
            # The file asks for an `api_version` beside the vectors, which it describes, and the SDK reads, in `meta`.
            described["required"] = [name for name in described.get("required", ()) if name in described["properties"]]
            jsonschema.validate(seen.answer, described)
    print(f"{len(server.seen)} requests and answers are those of {sys.argv[1]}, version {spec['info']['version']}")


if __name__ == "__main__":
    main()
