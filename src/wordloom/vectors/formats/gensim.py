"""gensim's own files (KeyedVectors.save, .kv; also a whole Word2Vec or FastText model): a Python pickle, large arrays
in .npy files beside it.

A pickle is a program. It is read by an unpickler that knows the few names below and gives each an inert stand-in: no
gensim, NumPy or other library code runs at its command, and any other name is refused before anything happens.
"""

from __future__ import annotations

import mmap
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import DataError
from wordloom.vectors.embeddings import Subwords, Vectors, compose
from wordloom.vectors.formats.disk import replace_file
from wordloom.vectors.formats.fasttext import own_rows
from wordloom.vectors.formats.rows import WHOLE, Oddities, encode_words, finite_rows

_INERT = {  # names that gensim 0.12 to 4.4 write, none of which is needed for the vectors: an empty object will do
    "gensim.models.keyedvectors": "KeyedVectors Word2VecKeyedVectors EuclideanKeyedVectors FastTextKeyedVectors Vocab "
    "CompatVocab",
    "gensim.models.word2vec": "Word2Vec Word2VecVocab Word2VecTrainables Vocab",
    "gensim.models.fasttext": "FastText FastTextVocab FastTextTrainables FastTextKeyedVectors",
    "gensim.models.wrappers.fasttext": "FastText FastTextKeyedVectors",
    "gensim.utils": "call_on_class_only",
    "collections": "defaultdict OrderedDict",
    "builtins": "hash int object set frozenset",
    "__builtin__": "hash int long object set frozenset",
    "UserString": "defaultdict",
    "numpy.random": "__RandomState_ctor",
    "numpy.random._pickle": "__randomstate_ctor __bit_generator_ctor",
    "numpy.random._mt19937": "MT19937",
}
_ALLOWED = {(module, name) for module, names in _INERT.items() for name in names.split()}
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_PLAIN = re.compile(r"[fiu][1248]|b1")
_SAVE_AGAIN = "open it in gensim and save its vectors with wv.save_word2vec_format"


class _Restricted(pickle._Unpickler):
    """Python's unpickler in Python: the one in C takes 32 GiB at the command of five bytes (its memo is an array).
    A million words take 2.5 s. Stand-ins are made anew for each file: what a file does to one ends with it."""

    def __init__(self, data: Any, path: Path):
        """data: a memory map, whose ``read`` takes no memory for bytes the file does not have."""
        super().__init__(data, encoding="latin1")  # as gensim: Python 2 wrote array data as str
        self._path = path
        self._known: dict[tuple[str, str], Any] = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get((module, name))
        if known is None:
            what = f"a pickle that asks for {module}.{name}, which no word vectors need, so it is not opened"
            raise DataError(what, where=self._path, cure=_SAVE_AGAIN)
        return known


def _stand_ins() -> dict[tuple[str, str], Any]:
    class Inert(dict):
        def __init__(self, *args: object) -> None:
            super().__init__()

        def __setstate__(self, state: object) -> None:
            if isinstance(state, dict):
                self.__dict__.update(state)

    class Dtype:
        def __init__(self, spec: str = "O", *_: object) -> None:
            self.spec, self.order = spec, "<"

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            self.order = state[1]

        def plain(self) -> np.dtype[Any] | None:
            known = isinstance(self.spec, str) and _PLAIN.fullmatch(self.spec) and self.order in ("<", ">", "|", "=")
            return np.dtype(self.order + self.spec) if known else None

    class Array:
        value: NDArray[Any] | None = None

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            _, shape, dtype, columns_first, data = state
            self.value = _array(data, dtype.plain(), shape, "F" if columns_first else "C")

    def reconstruct(*_: object) -> Array:
        return Array()  # numpy's own would take any shape, and its memory, before it sees the data

    def from_buffer(data: Any, dtype: Dtype, shape: Any, order: Any) -> Array:
        array = Array()
        array.value = _array(data, dtype.plain(), shape, "F" if order == "F" else "C")
        return array

    def scalar(dtype: Dtype, data: Any = b"") -> Any:
        value = _array(data, dtype.plain(), (1,), "C")
        return None if value is None else value[0].item()

    def encode(text: str, encoding: str = "latin1") -> bytes:
        return str(text).encode("latin1")

    known: dict[tuple[str, str], Any] = {key: type(key[1], (Inert,), {}) for key in _ALLOWED}
    for module in _NUMPY:
        known |= {(module, "_reconstruct"): reconstruct, (module, "scalar"): scalar}
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        known[module, "_frombuffer"] = from_buffer
    return known | {("numpy", "ndarray"): Array, ("numpy", "dtype"): Dtype, ("_codecs", "encode"): encode}


def _array(data: Any, dtype: np.dtype[Any] | None, shape: Any, order: Any) -> NDArray[Any] | None:
    if dtype is None:
        return None  # an array of objects: never a part of the vectors
    content = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def read_gensim(path: Path) -> Vectors:
    """Words, counts and vectors (and sub-words) of a gensim file. Arrays beside it stay memory-mapped.

    Raises DataError for a pickle that asks for anything but these, or that holds something else.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            loaded = _Restricted(data, path).load()
        except DataError:
            raise
        except Exception as error:  # a damaged pickle raises any of a dozen kinds
            reason = str(error).split("\n")[0][:120] or type(error).__name__
            raise DataError(f"a damaged pickle ({reason})", where=path, cure=WHOLE) from None
    try:
        model = _attributes(loaded)
        holder, prefix = (_attributes(model["wv"]), ".wv") if "wv" in model else (model, "")
        return _vectors(path, _Parts(path, prefix, holder))
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        what = f"a gensim file without usable word vectors ({error})"
        raise DataError(what, where=path, cure=_SAVE_AGAIN) from None


class _Parts:
    """Attributes of the pickled object; arrays from the pickle or from the .npy file beside it."""

    def __init__(self, path: Path, prefix: str, values: dict[str, Any]):
        self._path, self._prefix, self.values = path, prefix, values

    def matrix(self, name: str) -> NDArray[Any] | None:
        """(n, D) numbers, or None where there is no such attribute. name: of ours, never of the file's."""
        array: Any = getattr(self.values.get(name), "value", None)
        if array is None and name in self.values.get("__numpys", ()):
            beside = self._path.with_name(f"{self._path.name}{self._prefix}.{name}.npy")
            try:
                array = np.load(beside, mmap_mode="r", allow_pickle=False)
            except FileNotFoundError:
                what = "the file of its numbers is missing"
                raise DataError(what, where=beside, cure="copy it to the same folder") from None
            except (OSError, ValueError, EOFError) as error:
                raise DataError(f"unreadable: {error}", where=beside, cure=WHOLE) from None
        if array is not None and (array.ndim != 2 or array.dtype.kind != "f"):
            raise DataError(
                f"{name} is no matrix of numbers: {array.dtype} {array.shape}", where=self._path, cure=WHOLE
            )
        return array


def _attributes(loaded: Any) -> dict[str, Any]:
    values = getattr(loaded, "__dict__", None)
    if not isinstance(values, dict) or not values:
        raise ValueError(f"it holds a {type(loaded).__name__}")
    return values


def _vectors(path: Path, parts: _Parts) -> Vectors:
    values = parts.values
    words = next((values[key] for key in ("index_to_key", "index2word", "index2entity") if values.get(key)), None)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("its keys are not words")
    odd = Oddities()
    subwords = None
    grams = parts.matrix("vectors_ngrams")
    if "min_n" in values and "max_n" in values and values.get("compatible_hash") is not True:
        raise ValueError("its n-grams are from before gensim 3.8, with hashes of their own")
    if grams is not None:
        own, grams = _float32(parts.matrix("vectors_vocab"), odd), _float32(grams, odd)
        min_n, max_n, buckets = (int(values[key]) for key in ("min_n", "max_n", "bucket"))
        if own.shape != (len(words), grams.shape[1]) or len(grams) != buckets:
            raise ValueError(f"{len(words)} words, {own.shape} word rows, {grams.shape} n-gram rows, {buckets} buckets")
        matrix = own
        if buckets and max_n > 0:
            subwords = Subwords(grams, max(min_n, 1), max_n, own)
            matrix = compose(words, own, grams, max(min_n, 1), max_n)
    else:
        stored = parts.matrix("vectors")
        matrix = _float32(parts.matrix("syn0") if stored is None else stored, odd)[: len(words)]
    counts = _counts(values, words)
    finite = finite_rows(matrix)
    if not finite.all():
        keep, bad = np.flatnonzero(finite), int(np.argmin(finite))
        place = f"word {bad + 1}, {words[bad]!r}"
        odd.count("left out: the row holds NaN or infinity", place, len(words) - len(keep))
        words, matrix = [words[i] for i in keep], matrix[keep]
        counts = None if counts is None else counts[keep]
        if subwords is not None and subwords.own is not None:
            subwords = Subwords(subwords.rows, subwords.min_n, subwords.max_n, subwords.own[keep])
    if not words:
        raise DataError("holds no word with a usable vector", where=path, cure=WHOLE)
    return Vectors(words, matrix, counts, subwords, odd.notes)


def _float32(matrix: NDArray[Any] | None, odd: Oddities) -> NDArray[np.float32]:
    if matrix is None:
        raise ValueError("its vectors are not there")
    if matrix.dtype.itemsize > 4 and not odd.notes:
        odd.say(f"vectors of {matrix.dtype.itemsize * 8} bits are rounded to 32")
    return np.asarray(matrix, np.float32)


def _counts(values: dict[str, Any], words: list[str]) -> NDArray[np.int64] | None:
    """From the array of gensim 4, or from the objects of older ones."""
    array = getattr(values.get("expandos", {}).get("count"), "value", None)
    if array is not None and array.shape == (len(words),):
        return array.astype(np.int64)
    old = values.get("vocab")
    if isinstance(old, dict) and all(word in old for word in words):
        return np.array([getattr(old[word], "count", 0) for word in words], np.int64)
    return None


def save_gensim(vectors: Vectors, path: str | Path, *, overwrite: bool = False) -> None:
    """**Writes a Python pickle** that ``gensim.models.KeyedVectors.load`` opens (4.x; FastTextKeyedVectors where there
    are sub-words), with its matrices in .npy files beside it. Opening a pickle from elsewhere runs what it says; share
    ``save_binary``'s format instead. Raises BundleError where the file exists or cannot be written.
    """
    path = Path(path)
    encode_words(vectors.words, path, "")
    sub = vectors.subwords
    counts = {} if vectors.counts is None else {"count": vectors.counts}
    state: dict[str, Any] = {
        "vector_size": vectors.dimension,
        "index_to_key": vectors.words,
        "key_to_index": dict(zip(vectors.words, range(len(vectors)), strict=True)),
        "next_index": len(vectors),
        "norms": None,
        "expandos": counts,
        "mapfile_path": None,
        "__scipys": [],
        "__recursive_saveloads": [],
        "__ignoreds": [],
    }
    if sub is None:
        name, arrays = "gensim.models.keyedvectors\nKeyedVectors", {"vectors": vectors.matrix}
    else:
        name, arrays = "gensim.models.fasttext\nFastTextKeyedVectors", {}
        arrays |= {"vectors_vocab": own_rows(vectors), "vectors_ngrams": sub.rows}
        state |= {"min_n": sub.min_n, "max_n": sub.max_n, "bucket": len(sub.rows), "compatible_hash": True}
        state["__ignoreds"] = ["buckets_word", "vectors"]  # gensim computes them on load
    state["__numpys"] = list(arrays)
    for attribute, array in arrays.items():
        replace_file(path.with_name(f"{path.name}.{attribute}.npy"), _saver(array), overwrite)
    # GLOBAL, EMPTY_TUPLE, NEWOBJ, the state without its first two bytes (PROTO) and its last (STOP), BUILD, STOP: the
    # object is named, not imported. Protocol 3 has no frames, whose lengths would have to be mended.
    program = b"\x80\x03c" + name.encode() + b"\n)\x81" + pickle.dumps(state, 3)[2:-1] + b"b."
    replace_file(path, lambda file: _write(file, program), overwrite)


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)


def _saver(array: NDArray[np.float32]) -> Callable[[IO[bytes]], None]:
    """.npy in blocks: a mapped matrix is not read into memory whole."""

    def fill(file: IO[bytes]) -> None:
        facts = {"descr": "<f4", "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, facts)
        for start in range(0, len(array), 1 << 16):
            file.write(np.ascontiguousarray(array[start : start + (1 << 16)], "<f4").tobytes())

    return fill
