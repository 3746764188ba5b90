"""Make tiny rerankers, SPLADE and ColBERT models with transformers and sentence-transformers, and what they give.

Usage: python tests/reference/make_heads.py        (needs the `torch` extra)

Writes one folder a model under tests/reference/heads, in the layouts that real ones have: random weights, a tokenizer
of 220 pieces; and heads.npz with their scores, weights of words and token vectors, float32. Rerankers read the pairs
of `pairs()`; the others read texts, as queries and as documents.

This file knows transformers and nothing of sememe, so that the two cannot err together.
"""

from __future__ import annotations

import json
import shutil
import string
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from make_families import BERT_SIZES, DECODER_SIZES, LONGEST, PIECES, texts, tokenizer
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tokenizers import processors

HERE = Path(__file__).parent
FOLDERS = HERE / "heads"
FOUND = HERE / "heads.npz"
QUERY = "where is the pressure of the pump written down"
INSTRUCTION = "Find what a plumber wrote"
DIM = 16
t = transformers


def chosen() -> list[str]:
    """Twenty texts of all lengths."""
    return texts()[::3][:20]


def drawn(model: Any, seed: int) -> Any:
    """A model with weights drawn so wide that every part of it shows."""
    torch.manual_seed(seed)
    plain = "gemma" not in model.config.model_type
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            is_norm = "norm" in name.lower()
            wide = 0.1 if is_norm else 0.6 if "embed" in name or "relative" in name else 0.25
            middle = 1.0 if is_norm and name.endswith("weight") and plain else 0.0
            tensor.copy_(torch.randn(tensor.shape) * wide + middle)
    return model.float().eval()


def pair_tokenizer(kind: str) -> Any:
    """The families' tokenizer with the template of pairs that its kind has."""
    made = tokenizer(kind)
    inner = made.backend_tokenizer
    templates = {
        "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
        "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    }
    if kind in templates:
        single, pair = templates[kind]
        specials = [(token, inner.token_to_id(token)) for token in single.split() if token != "$A"]
        inner.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=specials)
    if kind == "bert":
        made.add_special_tokens({"mask_token": "[MASK]", "unk_token": "[UNK]"})
    return made


def configurations() -> dict[str, tuple[Any, str]]:
    """The families whose heads differ: a configuration and the kind of tokenizer each."""
    roberta = {**BERT_SIZES, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}
    distil = {"vocab_size": PIECES, "dim": 32, "hidden_dim": 40, "n_layers": 2, "n_heads": 4}
    modern = {name: value for name, value in BERT_SIZES.items() if name != "type_vocab_size"}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return {
        "bert": (t.BertConfig(**BERT_SIZES), "bert"),
        "roberta": (t.RobertaConfig(**roberta), "roberta"),
        "xlm-roberta": (t.XLMRobertaConfig(**roberta), "roberta"),
        "mpnet": (t.MPNetConfig(**{**BERT_SIZES, "max_position_embeddings": 66}), "roberta"),
        "distilbert": (t.DistilBertConfig(**distil, max_position_embeddings=64), "bert"),
        "modernbert": (
            t.ModernBertConfig(**modern, local_attention=12, classifier_pooling="mean", **tokens), "bert",
        ),
        "gte": (t.GteConfig(**{**BERT_SIZES, "type_vocab_size": 1}), "roberta"),
    }  # fmt: skip


# --- rerankers


def cross_encoders() -> dict[str, Any]:
    """One folder a family as transformers saves it, the older generation; and BERT as sentence-transformers does."""
    found = {}
    for seed, (name, (config, kind)) in enumerate(configurations().items()):
        config.num_labels = 1
        folder = FOLDERS / f"rank-{name}"
        drawn(
            t.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager"), seed
        ).save_pretrained(folder)
        made = pair_tokenizer(kind)
        if name == "bert":
            made.init_kwargs["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        made.save_pretrained(folder)
        model = CrossEncoder(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
        found[folder.name] = model.predict([(QUERY, text) for text in chosen()], batch_size=4, show_progress_bar=False)
        if name == "bert":
            model.activation_fn = torch.nn.Identity()
            model.save_pretrained(str(FOLDERS / "rank-newer"), create_model_card=False)
            found["rank-newer"] = found[folder.name]
    return found


def decoder_tokenizer(kind: str, words: tuple[str, ...], specials: tuple[str, ...]) -> Any:
    """A tokenizer that has the answers as pieces, and the marks of a template."""
    made = tokenizer(kind)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    made.add_special_tokens({"additional_special_tokens": list(specials)})
    made.add_tokens(list(words))
    made.model_max_length = 300
    return made


def qwen() -> Any:
    """Scores as the makers of Qwen3-Reranker show in its card: tokens of prefix, body and suffix put together."""
    made = decoder_tokenizer("qwen", ("yes", "no"), ("<|im_start|>", "<|im_end|>"))
    config = t.Qwen3Config(
        **{**DECODER_SIZES, "vocab_size": len(made), "max_position_embeddings": 300}, pad_token_id=0, eos_token_id=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = drawn(t.Qwen3ForCausalLM._from_config(config, attn_implementation="eager"), 3)
    model.save_pretrained(FOLDERS / "rank-qwen3")
    made.save_pretrained(FOLDERS / "rank-qwen3")
    before = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    yes, no = made.convert_tokens_to_ids("yes"), made.convert_tokens_to_ids("no")

    def scores(task: str) -> Any:
        result = []
        for text in chosen():
            body = f"<Instruct>: {task}\n<Query>: {QUERY}\n<Document>: {text}"
            head, tail = (made(part, add_special_tokens=False)["input_ids"] for part in (before, after))
            cut = made(body, add_special_tokens=False, truncation=True, max_length=300 - len(head) - len(tail))
            logits = model(torch.tensor([head + cut["input_ids"] + tail])).logits[0, -1]
            result.append(torch.softmax(logits[[no, yes]], 0)[1].item())
        return result

    default = "Given a web search query, retrieve relevant passages that answer the query"
    return {"rank-qwen3": scores(default), "rank-qwen3:told": scores(INSTRUCTION)}


def gemma() -> Any:
    """Scores as the makers of bge-reranker-v2-gemma show in its card, for texts that need no cutting."""
    made = decoder_tokenizer("gemma", ("Yes",), ())
    sizes = {**DECODER_SIZES, "vocab_size": len(made), "max_position_embeddings": 300, "num_key_value_heads": 1}
    model = drawn(t.GemmaForCausalLM._from_config(t.GemmaConfig(**sizes), attn_implementation="eager"), 4)
    model.save_pretrained(FOLDERS / "rank-gemma")
    made.save_pretrained(FOLDERS / "rank-gemma")
    prompt = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing "
        "a prediction of either 'Yes' or 'No'."
    )

    def ids(text: str) -> list[int]:
        found: list[int] = made(text, add_special_tokens=False)["input_ids"]
        return found

    result = []
    for text in chosen():
        end = [*ids("\n"), *ids(prompt)]
        start = [made.bos_token_id, *ids(f"A: {QUERY}"), *ids("\n")]
        tokens = start + ids(f"B: {text}")[: 300 - len(start) - len(end)] + end
        logits = model(torch.tensor([tokens])).logits[0, -1]
        result.append(torch.sigmoid(logits[made.convert_tokens_to_ids("Yes")]).item())
    return {"rank-gemma": result}


def scored_decoder() -> Any:
    """A decoder with a classifier on its last token, as converted rerankers are."""
    config = t.Qwen3Config(**DECODER_SIZES, pad_token_id=0, eos_token_id=1, num_labels=1)
    made = tokenizer("qwen")
    model = drawn(t.Qwen3ForSequenceClassification._from_config(config, attn_implementation="eager"), 5)
    model.save_pretrained(FOLDERS / "rank-score")
    made.save_pretrained(FOLDERS / "rank-score")
    loaded = CrossEncoder(str(FOLDERS / "rank-score"), device="cpu", model_kwargs={"attn_implementation": "eager"})
    pairs = [(QUERY, text) for text in chosen()]
    return {"rank-score": loaded.predict(pairs, batch_size=1, show_progress_bar=False)}


# --- sparse


def transformer(name: str, make: Callable[..., Any], seed: int, **options: Any) -> Transformer:
    """A Transformer module around a drawn network."""
    config, kind = configurations()[name]
    with tempfile.TemporaryDirectory() as raw:
        drawn(make(config, attn_implementation="eager"), seed).save_pretrained(raw)
        pair_tokenizer(kind).save_pretrained(raw)
        return Transformer(raw, max_seq_length=LONGEST, model_kwargs={"attn_implementation": "eager"}, **options)


def splades() -> dict[str, Any]:
    """SPLADE of every family with a masked language model; one sums, one saturates twice, one has plain queries."""
    found = {}
    strategies = {"roberta": ("sum", "relu"), "distilbert": ("max", "log1p_relu")}
    for seed, name in enumerate(configurations()):
        language = transformer(name, t.AutoModelForMaskedLM.from_config, seed, transformer_task="fill-mask")
        model = SparseEncoder(modules=[language, SpladePooling(*strategies.get(name, ("max", "relu")))], device="cpu")
        found |= sparse(model, f"sparse-{name}")
    language = transformer("distilbert", t.AutoModelForMaskedLM.from_config, 9, transformer_task="fill-mask")
    weight = torch.rand(PIECES, generator=torch.Generator().manual_seed(4)) * 5
    plain = SparseStaticEmbedding(language.tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[plain], document_modules=[language, SpladePooling("max")])
    return found | sparse(SparseEncoder(modules=[router], similarity_fn_name="dot", device="cpu"), "sparse-router")


def sparse(model: Any, name: str) -> dict[str, Any]:
    model.save_pretrained(str(FOLDERS / name), create_model_card=False)
    kept = {"convert_to_sparse_tensor": False, "convert_to_tensor": False, "show_progress_bar": False, "batch_size": 4}
    return {
        f"{name}:document": np.stack([row.numpy() for row in model.encode_document(chosen(), **kept)]),
        f"{name}:query": np.stack([row.numpy() for row in model.encode_query(chosen(), **kept)]),
    }


# --- late interaction


def late(model: Any, name: str) -> dict[str, Any]:
    found = {}
    for role, encode in (("query", model.encode_query), ("document", model.encode_document)):
        rows = encode(chosen(), convert_to_numpy=True, batch_size=4, show_progress_bar=False)
        found[f"{name}:{role}"] = np.concatenate(rows)
        found[f"{name}:{role}:lengths"] = np.array([len(row) for row in rows])
    return found


def projection(seed: int) -> Dense:
    made = Dense(
        32, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings",
        module_output_name="token_embeddings",
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.no_grad():
        made.linear.weight.copy_(torch.randn(made.linear.weight.shape) * 0.3)
    return made


def newest() -> dict[str, Any]:
    """As sentence-transformers 6 saves it: with expansion that is attended to, with none, and one that is a minimum."""
    found = {}
    expansions: dict[str, Any] = {
        "late-attended": {"strategy": "fixed", "attend": True, "length": 32},
        "late-least": {"strategy": "min", "attend": False, "length": 12},
        "late-plain": None,
    }
    for seed, (name, expansion) in enumerate(expansions.items()):
        family = "modernbert" if name == "late-plain" else "bert"
        network = transformer(family, t.AutoModel.from_config, seed, query_expansion=expansion, document_length=48)
        skipped = MultiVectorMask(skiplist_words=list(string.punctuation))
        modules = [network, projection(seed), skipped, Normalize(module_input_name="token_embeddings")]
        model = MultiVectorEncoder(modules=modules, prompts={"query": "the ", "document": "a "}, device="cpu")
        model.save_pretrained(str(FOLDERS / name), create_model_card=False)
        found |= late(model, name)
    return found


def pylate() -> dict[str, Any]:
    """PyLate's layout: a Transformer and a Dense, everything else in config_sentence_transformers.json."""
    folder = FOLDERS / "late-pylate"
    network = transformer("bert", t.AutoModel.from_config, 11)
    network.tokenizer.add_tokens(["[Q] ", "[D] "])
    network.model.resize_token_embeddings(len(network.tokenizer))
    network.save(str(folder))
    (folder / "1_Dense").mkdir()
    projection(11).save(str(folder / "1_Dense"))
    dense = {"in_features": 32, "out_features": DIM, "bias": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"  # type: ignore[assignment]
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {
        "model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 32,
        "document_length": 40, "attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation),
        "do_query_expansion": True, "similarity_fn_name": "MaxSim",
    }  # fmt: skip
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return late(MultiVectorEncoder(str(folder), device="cpu"), folder.name)


def stanford() -> dict[str, Any]:
    """The layout of ColBERT's makers: the projection beside the transformer's tensors, and artifact.metadata."""
    folder = FOLDERS / "late-stanford"
    config, kind = configurations()["bert"]
    made = pair_tokenizer(kind)
    made.add_tokens(["[unused0]", "[unused1]"])
    config.vocab_size = len(made)
    network = drawn(t.AutoModel.from_config(config, attn_implementation="eager"), 12)
    network.save_pretrained(folder)
    made.save_pretrained(folder)
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors["linear.weight"] = projection(12).linear.weight.detach().contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    written = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(written))
    said = {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 32, "doc_maxlen": 50,
        "mask_punctuation": True, "attend_to_mask_tokens": False, "dim": DIM,
    }  # fmt: skip
    (folder / "artifact.metadata").write_text(json.dumps(said))
    return late(MultiVectorEncoder(str(folder), device="cpu"), folder.name)


def pooled(found: dict[str, Any]) -> dict[str, Any]:
    """Half as many vectors of each document, by hierarchical clustering."""
    whole, lengths = found["late-attended:document"], found["late-attended:document:lengths"]
    rows = [torch.from_numpy(part.copy()) for part in np.split(whole, np.cumsum(lengths)[:-1])]
    halves = HierarchicalTokenPooling(2.0).pool(rows)
    lengths = np.array([len(row) for row in halves])
    return {"pooled": np.concatenate([row.numpy() for row in halves]), "pooled:lengths": lengths}


def main() -> None:
    shutil.rmtree(FOLDERS, ignore_errors=True)
    FOLDERS.mkdir()
    with torch.no_grad():
        found = cross_encoders() | qwen() | gemma() | scored_decoder()
        found |= splades() | newest() | pylate() | stanford()
        found |= pooled(found)
    for folder in FOLDERS.iterdir():
        (folder / "README.md").unlink(missing_ok=True)
    arrays = {
        name: np.asarray(rows, np.int64 if name.endswith("lengths") else np.float32) for name, rows in found.items()
    }
    np.savez_compressed(FOUND, **arrays)
    size = sum(path.stat().st_size for path in FOLDERS.rglob("*") if path.is_file())
    print(f"{len(found)} arrays, {FOUND.stat().st_size:,} bytes; folders {size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
