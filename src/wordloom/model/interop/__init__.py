"""Saved folders: the public layouts (exact where a twin exists) and Wordloom's bundle around them."""

from wordloom.model.interop.bundle import Bundle, load_any, load_bundle, save_bundle
from wordloom.model.interop.hf import Loaded, apply_states, has_segments, load_hf, model_of, save_hf

__all__ = [
    "Bundle",
    "Loaded",
    "apply_states",
    "has_segments",
    "load_any",
    "load_bundle",
    "load_hf",
    "model_of",
    "save_bundle",
    "save_hf",
]
