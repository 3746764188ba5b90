"""Make a tiny ALBERT, of which sememe builds no graph, so that its torch engine runs it.

Usage: python benchmarks/odd_family.py FOLDER        (in the environment of the peers)

Writes FOLDER/albert as tests/reference/make_families.py writes its families.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

import make_families
import transformers


def main() -> None:
    make_families.FOLDERS = Path(sys.argv[1])
    sizes = {name: size for name, size in make_families.BERT_SIZES.items() if name != "type_vocab_size"}
    config = transformers.AlbertConfig(embedding_size=16, **sizes)
    make_families.make("albert", config, "bert", make_families.mean)


if __name__ == "__main__":
    main()
