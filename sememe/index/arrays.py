"""Arrays by name in a folder, one .npy file each, written whole and mapped into memory. Knows NumPy and files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sememe.errors import StoreDamaged
from sememe.types import Ids


def saved(folder: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays, each beside the one it replaces: a reader sees the old one or the new one, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        staged = folder / f"{name}.tmp"
        with staged.open("wb") as file:
            np.save(file, np.ascontiguousarray(array))
            file.flush()
            os.fsync(file.fileno())
        staged.replace(folder / f"{name}.npy")


def mapped(folder: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a folder by name, read only. Raises StoreDamaged when one is missing or cut short."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name in names:
        path = folder / f"{name}.npy"
        try:
            found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreDamaged(f"{path} cannot be read ({error}); remove {folder} and build the index again") from error
    return found


class Growing:
    """An array in a file that is written in pieces of rows, of a width each or, with none, of single numbers."""

    def __init__(self, folder: Path, name: str, dtype: str, *, width: int | None = None) -> None:
        self._file = (folder / f"{name}.npy").open("xb")
        self._dtype, self._width = np.dtype(dtype), width
        self._rows, self.crc = 0, 0
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows behind those that are there."""
        data = np.ascontiguousarray(rows, self._dtype).data
        self._file.write(data)
        self.crc = zlib.crc32(data, self.crc)
        self._rows += len(rows)

    def finish(self) -> None:
        """Write how many rows there are, and wait until the disk has them."""
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, whatever is in it."""
        self._file.close()

    def _write_header(self) -> None:
        shape = (self._rows,) if self._width is None else (self._rows, self._width)
        # NumPy leaves room for a longer first axis, so that both headers are of one length.
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def crc_of(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    """The CRC-32 of arrays by name."""
    return joined_crc({name: zlib.crc32(np.ascontiguousarray(array).data) for name, array in arrays.items()})


def joined_crc(crcs: Mapping[str, int]) -> int:
    """That of the CRC-32 of each."""
    return zlib.crc32(np.array([crcs[name] for name in sorted(crcs)], "<u4").tobytes())


class Indexed:
    """An index over arrays in a folder, two of them `ids (n,)` and `dead (n,) bool`: counting and deleting."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._arrays = mapped(folder, names)
        self._ids = self._arrays["ids"]
        self._dead: npt.NDArray[np.bool_] = np.array(self._arrays["dead"])

    def __len__(self) -> int:
        return int(np.count_nonzero(~self._dead))

    @property
    def bytes(self) -> int:
        """What the folder takes on disk."""
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def delete(self, ids: Ids) -> None:
        """Leave these ids out of every answer from now on. Unknown ones are passed over."""
        self._dead |= np.isin(self._ids, ids)
        saved(self._folder, {"dead": self._dead})
