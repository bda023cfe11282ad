"""Scores of labels from what a word looks like, added to those from its state.

A linear model of sparse features beside a network, trained together (Cheng et al. 2016, section 3): what prefixes,
capitals and neighbours tell need not be learned through the network, which few labels do not teach.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SurfaceHead(nn.Module):
    """One weight for each bucket of hashed features and class; all 0 at first, which is the network alone."""

    def __init__(self, arch: Any, buckets: int, classes: int, dropout: float = 0.0):
        """dropout: share of the features that each word is trained without; the others count more in its place."""
        super().__init__()
        self.buckets, self.classes, self.dropout = buckets, classes, dropout
        self.weight = nn.Parameter(torch.zeros(buckets, classes))

    def forward(self, ids: Tensor, starts: Tensor) -> Tensor:
        """ids (F,) of all features, word after word; starts (U,) where each word's begin -> (U, C) sums of weights."""
        kept = None
        if self.training and self.dropout:
            kept = F.dropout(torch.ones(len(ids), dtype=self.weight.dtype, device=ids.device), self.dropout)
        return F.embedding_bag(ids, self.weight, starts, mode="sum", per_sample_weights=kept)

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it."""
        return {"buckets": self.buckets, "classes": self.classes, "dropout": self.dropout}
