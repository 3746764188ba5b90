"""Make a tiny model of every family with transformers and sentence-transformers, and the vectors they give.

Usage: python tests/reference/make_families.py        (needs the `torch` extra)

Writes one folder a family under tests/reference/families, in the layout that real models have: random weights, a
tokenizer of 220 pieces, some 100 kB each; and families.npz with their vectors of the 50 texts of `texts()`, float32.
Weights are drawn wide, so that attention, positions and windows all tell in the vectors. Folders whose name ends in
"-hub" are the same model with the configuration that its repository on the hub has.

This file knows transformers and nothing of sememe, so that the two cannot err together.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling, StaticEmbedding
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
FOLDERS = HERE / "families"
VECTORS = HERE / "families.npz"
PIECES, LONGEST, TEXTS = 220, 64, 50
PROMPT = "search_query: "
BERT_SIZES = {
    "vocab_size": PIECES, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 64, "type_vocab_size": 2,
}  # fmt: skip
DECODER_SIZES = {
    "vocab_size": PIECES, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40, "max_position_embeddings": 64,
}  # fmt: skip


def texts() -> list[str]:
    """Plain texts of all lengths and the odd ones, without lone surrogates."""
    with gzip.open(HERE / "texts.jsonl.gz", "rt", encoding="ascii") as lines:
        rows = [json.loads(line)["text"] for line in lines]
    chosen = [*rows[:500:20], *rows[500:]]
    return [text for text in chosen if text.isascii() or text == text.encode("utf-8", "replace").decode()][:TEXTS]


def tokenizer(kind: str) -> transformers.PreTrainedTokenizerFast:
    """Word pieces for encoders, byte pairs for the others, with the special tokens and template of their kind.

    "-left" behind the kind cuts long texts at their start.
    """
    kind, _, cut = kind.partition("-")
    specials = {
        "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        "qwen": ["<pad>", "<|endoftext|>"],
        "gemma": ["<pad>", "<eos>", "<bos>", "<unk>"],
    }[kind]
    if kind == "bert":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=specials, limit_alphabet=60)
    else:
        made = Tokenizer(models.BPE(unk_token="<unk>" if "<unk>" in specials else None))
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=PIECES, special_tokens=specials, limit_alphabet=90)
    made.train_from_iterator(texts(), trainer)
    template, names = {
        "bert": ("[CLS] $A [SEP]", {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}),
        "roberta": ("<s> $A </s>", {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}),
        "qwen": ("$A <|endoftext|>", {"eos_token": "<|endoftext|>", "pad_token": "<pad>"}),
        "gemma": ("<bos> $A <eos>", {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}),
    }[kind]
    pairs = [(token, made.token_to_id(token)) for token in template.split() if token != "$A"]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=pairs)
    side = "left" if kind == "qwen" else "right"
    names |= {"truncation_side": cut} if cut else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=LONGEST, padding_side=side, **names
    )


def network(config: Any) -> Any:
    """A model with weights drawn so wide that every part of it shows."""
    torch.manual_seed(len(config.model_type))
    made = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            wide = 0.6 if "embed" in name or "relative" in name else 0.25
            middle = (
                1.0 if "norm" in name.lower() and name.endswith("weight") and config.model_type != "gemma3_text" else 0
            )
            tensor.copy_(torch.randn(tensor.shape) * (0.1 if "norm" in name.lower() else wide) + middle)
    return made.float()


def make(
    name: str, config: Any, kind: str, behind: Callable[[int], list[Any]], prompts: dict[str, str] | None = None
) -> None:
    """Save one family's folder as sentence-transformers does."""
    raw = FOLDERS / f"{name}.raw"
    made = network(config)
    made.save_pretrained(raw)
    tokenizer(kind).save_pretrained(raw)
    width = getattr(config, "hidden_size", None) or config.dim
    model = SentenceTransformer(
        modules=[Transformer(str(raw), max_seq_length=LONGEST), *behind(width)], prompts=prompts, device="cpu"
    )
    model.save(str(FOLDERS / name), create_model_card=False)
    shutil.rmtree(raw)


def mean(width: int) -> list[Any]:
    return [Pooling(width, "mean"), Normalize()]


def cls(width: int) -> list[Any]:
    return [Pooling(width, "cls"), Normalize()]


def last(width: int) -> list[Any]:
    return [Pooling(width, "lasttoken"), Normalize()]


def drawn(module: Any) -> Any:
    """A module with weights of its own."""
    torch.manual_seed(7)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.randn(tensor.shape) * 0.3)
    return module


def every_pooling(width: int) -> list[Any]:
    modes = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    total = width * len(modes)
    return [
        Pooling(width, modes, include_prompt=False),
        drawn(LayerNorm(total)),
        drawn(Dense(total, 24, activation_function=torch.nn.Tanh(), use_residual=True)),
        drawn(Dense(24, 24, bias=False, activation_function=torch.nn.GELU(), use_residual=True)),
    ]


def two_dense(width: int) -> list[Any]:
    return [
        Pooling(width, "mean"),
        drawn(Dense(width, 48, bias=False, activation_function=torch.nn.Identity())),
        drawn(Dense(48, width, bias=False, activation_function=torch.nn.Identity())),
        Normalize(),
    ]


def families() -> None:
    """Every folder."""
    t = transformers
    both = {"query": PROMPT, "document": "passage: "}
    make("bert", t.BertConfig(**BERT_SIZES), "bert", mean)
    make("poolings", t.BertConfig(**BERT_SIZES), "bert", every_pooling, {"query": PROMPT})
    roberta = {**BERT_SIZES, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}
    make("roberta", t.RobertaConfig(**roberta), "roberta", cls)
    make("xlm-roberta", t.XLMRobertaConfig(**roberta), "roberta", mean, both)
    make("mpnet", t.MPNetConfig(**{**BERT_SIZES, "max_position_embeddings": 66}), "roberta", mean)
    distil = {"vocab_size": PIECES, "dim": 32, "hidden_dim": 40, "n_layers": 2, "n_heads": 4}
    make("distilbert", t.DistilBertConfig(**distil, max_position_embeddings=64), "bert", lambda w: [Pooling(w, "max")])
    modern = {name: value for name, value in BERT_SIZES.items() if name != "type_vocab_size"}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    make(
        "modernbert",
        t.ModernBertConfig(**{**modern, "num_hidden_layers": 3}, local_attention=12, **tokens), "bert", cls,
    )  # fmt: skip
    make("nomic", t.NomicBertConfig(**BERT_SIZES), "bert", mean)
    rope = {"rope_type": "default", "rope_theta": 5000.0}
    make("gte", t.GteConfig(**{**BERT_SIZES, "type_vocab_size": 1}, rope_parameters=rope), "roberta", cls)
    make("qwen3", t.Qwen3Config(**DECODER_SIZES, pad_token_id=0, eos_token_id=1), "qwen", last, both)
    make("mistral", t.MistralConfig(**DECODER_SIZES, sliding_window=10, pad_token_id=0), "qwen", last)
    yarn = {"rope_type": "yarn", "rope_theta": 300.0, "factor": 4.0, "beta_fast": 8}
    yarn |= {"original_max_position_embeddings": 16}
    make("qwen2", t.Qwen2Config(**DECODER_SIZES, rope_parameters=yarn, pad_token_id=0), "qwen", last)
    llama3 = {
        "rope_type": "llama3", "rope_theta": 300.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    make("llama", t.LlamaConfig(**DECODER_SIZES, rope_parameters=llama3, pad_token_id=0), "qwen", last)
    linear = {"rope_type": "linear", "rope_theta": 300.0, "factor": 3.0}
    make("eurobert", t.EuroBertConfig(**DECODER_SIZES, rope_parameters=linear, pad_token_id=0), "gemma", mean)
    dynamic = {"rope_type": "dynamic", "rope_theta": 300.0, "factor": 2.0}
    make("dynamic", t.LlamaConfig(**DECODER_SIZES, rope_parameters=dynamic, pad_token_id=0), "qwen-left", last)
    gemma = {**DECODER_SIZES, "query_pre_attn_scalar": 12, "sliding_window": 16, "use_bidirectional_attention": True}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    make("gemma3", t.Gemma3TextConfig(**gemma, layer_types=kinds, attn_implementation="eager"), "gemma", two_dense)
    table = torch.randn((PIECES, 32), generator=torch.Generator().manual_seed(3))
    static = StaticEmbedding(tokenizer("bert"), embedding_weights=table)
    SentenceTransformer(modules=[static, Normalize()], device="cpu").save(
        str(FOLDERS / "static"), create_model_card=False
    )
    router(static, Transformer(str(FOLDERS / "bert"), max_seq_length=LONGEST))


def router(query: Any, transformer: Any) -> None:
    """A model with a table for queries and a transformer for documents."""
    document = [transformer, Pooling(32, "cls"), drawn(Dense(32, 32, activation_function=torch.nn.Tanh()))]
    towers = Router.for_query_document(query_modules=[query], document_modules=document)
    model = SentenceTransformer(modules=[towers, Normalize()], prompts={"query": PROMPT}, device="cpu")
    model.save(str(FOLDERS / "router"), create_model_card=False)


def as_on_the_hub(name: str, config: dict[str, Any], prefix: str) -> None:
    """The same model with the configuration of its repository, and the prefix of its tensors' names."""
    target = FOLDERS / f"{name}-hub"
    shutil.copytree(FOLDERS / name, target)
    (target / "config.json").write_text(json.dumps(config, indent=1))
    tensors = {f"{prefix}{name}": tensor for name, tensor in load_file(target / "model.safetensors").items()}
    save_file(tensors, target / "model.safetensors")


def hub_layouts() -> None:
    nomic = {
        "model_type": "nomic_bert", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "n_positions": 64,
        "activation_function": "swiglu", "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_scaling_factor": None, "prenorm": False,
        "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "type_vocab_size": 2,
        "vocab_size": PIECES,
    }  # fmt: skip
    as_on_the_hub("nomic", nomic, "")
    gte = {
        **BERT_SIZES, "model_type": "new", "type_vocab_size": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "position_embedding_type": "rope", "rope_theta": 5000.0, "rope_scaling": None, "pack_qkv": True,
        "layer_norm_type": "layer_norm", "logn_attention_scale": False,
    }  # fmt: skip
    as_on_the_hub("gte", gte, "new.")
    as_on_the_hub("qwen3", json.loads((FOLDERS / "qwen3" / "config.json").read_text()), "model.")
    _end_told_beside(FOLDERS / "qwen3-hub")


def _end_told_beside(folder: Path) -> None:
    """As Mistral's makers write it: the token at the end is in tokenizer_config.json, not in tokenizer.json."""
    made = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**made, "post_processor": None}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "add_eos_token": True}))


def vectors() -> dict[str, Any]:
    """What sentence-transformers makes of the texts, by folder; a role behind a colon where a model has prompts."""
    found: dict[str, Any] = {}
    for folder in sorted(FOLDERS.iterdir()):
        if folder.name.endswith("-hub"):
            continue
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
        kept = [text.replace("\ud800", "\ufffd") for text in texts()]
        found[folder.name] = model.encode(kept, batch_size=8, show_progress_bar=False)
        for role in [role for role in ("query", "document") if model.prompts.get(role)]:
            encode = getattr(model, f"encode_{role}")
            found[f"{folder.name}:{role}"] = encode(kept, batch_size=8, show_progress_bar=False)
    return found


def main() -> None:
    shutil.rmtree(FOLDERS, ignore_errors=True)
    FOLDERS.mkdir()
    families()
    found = vectors()
    hub_layouts()
    np.savez_compressed(VECTORS, **{name: np.asarray(rows, dtype=np.float32) for name, rows in found.items()})
    size = sum(path.stat().st_size for path in FOLDERS.rglob("*") if path.is_file())
    print(f"{len(found)} sets of vectors, {VECTORS.stat().st_size:,} bytes; folders {size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
