"""An exported graph that lies in a model's folder, ONNX or OpenVINO, given the inputs and the pooling of ours.

Its inputs are fed from `input_ids` and `lengths`; if its output is token states they are pooled as the card says, and
if it is one vector a text that is taken as it is. This file knows OpenVINO and the usual names of exports.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import ModelError
from sememe.models import pooling
from sememe.models.cards import Card
from sememe.models.openvino_library import openvino
from sememe.models.openvino_ops import OpenVINOOps

STATES = ("last_hidden_state", "token_embeddings")
VECTORS = ("sentence_embedding", "text_embeds", "pooler_output")
GRAPHS = (".onnx", ".xml")


def build(card: Card, files: Mapping[str, Path]) -> Any:
    """The `openvino.Model` of an exported graph. Raises ModelError when it asks for or gives what is not known."""
    ov = openvino()

    name = next(file.name for file in card.files if file.name.endswith(GRAPHS))
    try:
        model = ov.Core().read_model(str(files[name]))
    except RuntimeError as error:
        raise ModelError(f"{files[name]} is not a graph that can be read: {str(error).splitlines()[0]}") from error
    ops = OpenVINOOps()
    ids, lengths = ops.input("input_ids", 2), ops.input("lengths", 1)
    counted = ops.count_to(ops.size(ids, 1))
    real = ops.less(ops.unsqueeze(counted, 0), ops.unsqueeze(lengths, 1))
    everywhere = ops.multiply(ids, ops.constant(np.int32(0)))
    fed = {
        "input_ids": ids,
        "attention_mask": ops.convert(real, "i32"),
        "token_type_ids": everywhere,
        "position_ids": ops.add(everywhere, ops.unsqueeze(counted, 0)),
    }
    for parameter in model.get_parameters():
        known = parameter.output(0).get_names() & set(fed)
        if not known:
            asked = ", ".join(sorted(parameter.output(0).get_names())) or parameter.get_friendly_name()
            raise ModelError(f"{files[name]} wants an input {asked!r}; supported: {', '.join(fed)}")
        kind = parameter.get_element_type().get_type_name()
        parameter.output(0).replace(ops.convert(fed[known.pop()], kind).output(0))
    states = _output(model, files[name])
    source = states.get_node().input_value(0)
    found = ops.convert(source, "f32")
    if states.get_partial_shape().rank.get_length() == 2:
        return ops.model(ops.unit(found) if card.normalize else found, "embedding")
    tokens = pooling.Tokens(found, counted, lengths, real)
    return ops.model(pooling.pooled(ops, tokens, card=card, files=files), "embedding")


def _output(model: Any, file: Path) -> Any:
    """The output to take: token states by name, else a vector by name, else the first of either shape."""
    outputs = list(model.outputs)
    for name in (*STATES, *VECTORS):
        for output in outputs:
            if name in output.get_names():
                return output
    for output in outputs:
        if output.get_partial_shape().rank.is_static and output.get_partial_shape().rank.get_length() in (2, 3):
            return output
    names = ", ".join(sorted(name for output in outputs for name in output.get_names()))
    raise ModelError(f"{file} gives {names or 'nothing with a name'}; supported: {', '.join((*STATES, *VECTORS))}")
