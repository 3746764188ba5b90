"""Quantise random vectors with sentence-transformers.

Usage: python tests/reference/make_quantised.py        (needs the `torch` extra)

Writes quantised.npz: `vectors` (50, 20) and `calibration` (30, 20) float32, and under the name of each precision what
`quantize_embeddings` makes of the vectors. This file knows nothing of sememe.
"""

from pathlib import Path

import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings

rng = np.random.default_rng(8)
vectors = rng.standard_normal((50, 20)).astype(np.float32)
calibration = rng.standard_normal((30, 20)).astype(np.float32)
calibration[:, 3] = 0.5
made = {
    precision: quantize_embeddings(vectors, precision=precision, calibration_embeddings=calibration)
    for precision in ("int8", "uint8", "binary", "ubinary")
}
np.savez_compressed(Path(__file__).parent / "quantised.npz", vectors=vectors, calibration=calibration, **made)
