"""Where each family keeps its tensors: a part of the transformer → the name of a tensor, without ".weight".

`{}` is the number of the layer. A name that ends in `[i/n]` is the i-th of n equal slices of a fused tensor's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Layout: TypeAlias = Mapping[str, str]


def _layers(before: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {part: f"{before}.{{}}.{name}" for part, name in parts.items()}


_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "places": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
}
_BERT_END = {"up": "intermediate.dense", "down": "output.dense", "after_mlp": "output.LayerNorm"}

BERT: Layout = _EMBEDDINGS | _layers(
    "encoder.layer",
    {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "after_attention": "attention.output.LayerNorm",
        **_BERT_END,
    },
)

MPNET: Layout = (
    _EMBEDDINGS
    | {"distances": "encoder.relative_attention_bias"}
    | _layers(
        "encoder.layer",
        {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "output": "attention.attn.o",
            "after_attention": "attention.LayerNorm",
            **_BERT_END,
        },
    )
)

DISTILBERT: Layout = _EMBEDDINGS | _layers(
    "transformer.layer",
    {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "after_attention": "sa_layer_norm",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
        "after_mlp": "output_layer_norm",
    },
)

MODERNBERT: Layout = {
    "words": "embeddings.tok_embeddings",
    "embedding_norm": "embeddings.norm",
    "final_norm": "final_norm",
} | _layers(
    "layers",
    {
        "before_attention": "attn_norm",
        "query": "attn.Wqkv[0/3]",
        "key": "attn.Wqkv[1/3]",
        "value": "attn.Wqkv[2/3]",
        "output": "attn.Wo",
        "before_mlp": "mlp_norm",
        "gate": "mlp.Wi[0/2]",
        "up": "mlp.Wi[1/2]",
        "down": "mlp.Wo",
    },
)

_SEPARATE = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}

NOMIC: Layout = {
    **_EMBEDDINGS,
    "embedding_norm": "emb_ln",
} | _layers(
    "encoder.layers",
    {
        "query": "attn.Wqkv[0/3]",
        "key": "attn.Wqkv[1/3]",
        "value": "attn.Wqkv[2/3]",
        "output": "attn.out_proj",
        "after_attention": "norm1",
        "up": "mlp.fc11",
        "gate": "mlp.fc12",
        "down": "mlp.fc2",
        "after_mlp": "norm2",
    },
)

GTE: Layout = _EMBEDDINGS | _layers(
    "encoder.layer",
    {
        "query": "attention.qkv_proj[0/3]",
        "key": "attention.qkv_proj[1/3]",
        "value": "attention.qkv_proj[2/3]",
        "output": "attention.o_proj",
        "after_attention": "attn_ln",
        "up": "mlp.up_gate_proj[0/2]",
        "gate": "mlp.up_gate_proj[1/2]",
        "down": "mlp.down_proj",
        "after_mlp": "mlp_ln",
    },
)

_DECODER = {"words": "embed_tokens", "final_norm": "norm"}
_QUERY_KEY_NORM = {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}

DECODER: Layout = _DECODER | _layers(
    "layers",
    {
        **_SEPARATE,
        **_QUERY_KEY_NORM,
        "before_attention": "input_layernorm",
        "before_mlp": "post_attention_layernorm",
    },
)

GEMMA: Layout = _DECODER | _layers(
    "layers",
    {
        **_SEPARATE,
        **_QUERY_KEY_NORM,
        "before_attention": "input_layernorm",
        "after_attention": "post_attention_layernorm",
        "before_mlp": "pre_feedforward_layernorm",
        "after_mlp": "post_feedforward_layernorm",
    },
)
