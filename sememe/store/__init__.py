"""The truth: documents, chunks, vectors, the ledger, and which derived files are current."""

from sememe.store.sqlite import SQLiteStore

__all__ = ["SQLiteStore"]
