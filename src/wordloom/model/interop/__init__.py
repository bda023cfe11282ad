"""Saved folders: the Hugging Face layout (exact where a twin exists) and Wordloom's bundle around it."""

from wordloom.model.interop.bundle import Bundle, load_bundle, save_bundle
from wordloom.model.interop.hf import Loaded, apply_states, load_hf, save_hf

__all__ = ["Bundle", "Loaded", "apply_states", "load_bundle", "load_hf", "save_bundle", "save_hf"]
