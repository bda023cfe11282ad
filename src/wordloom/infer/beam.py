"""Beam search (Sutskever et al. 2014, section 3.2; the length penalty as in Wu et al. 2016, section 7, simplified to a
power of the length): the answers and scores of the public library's ``generate``, with which it is compared in tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from wordloom.infer.decode import Answer, Ids, Stepper, refuse_empty
from wordloom.infer.sampling import Decoding, discourage


@dataclass
class _Search:
    """One prompt: texts and log-probabilities of its K beams, the best K complete answers, best first."""

    texts: list[list[int]]
    scores: list[float]
    complete: list[Answer] = field(default_factory=list)
    open: bool = True

    def finish(self, ids: list[int], ended: bool, score: float, beams: int) -> None:
        self.complete.append(Answer(tuple(ids), ended, score))
        self.complete.sort(key=lambda answer: -(answer.score or 0.0))  # stable: the earlier of two equals stays before
        del self.complete[beams:]


@torch.inference_mode()
def search(stepper: Stepper, prompts: Sequence[Ids], how: Decoding, ends: Ids = ()) -> list[list[Answer]]:
    """``how.answers`` of every prompt, best first, with their scores.

    Each step takes the 2 K likeliest continuations of a prompt's K beams, (1 + ends) K where there are several ends, so
    that K of them go on whatever ends. A continuation that ends is an answer only if it is among the first K.
    """
    refuse_empty(prompts)
    K, P, finals = how.beams, len(prompts), frozenset(ends)
    logits, state = stepper.begin(prompts, how.max_tokens - 1)
    first = torch.arange(P, device=logits.device).repeat_interleave(K)
    logits, state = logits[first], stepper.reorder(state, first)  # (P K, V)
    contexts = stepper.context(prompts)
    # all beams of a prompt are equal at first: the others are held back, so that its first gives K different tokens
    searches = [_Search([[] for _ in range(K)], [0.0] + [-1e9] * (K - 1)) for _ in prompts]
    for length in range(1, how.max_tokens + 1):
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        if how.repetition_penalty != 1 or how.no_repeat_ngram:
            texts = [c + text for c, s in zip(contexts, searches, strict=True) for text in s.texts]
            logprobs = discourage(logprobs, texts, how)
        held = torch.tensor([s.scores for s in searches], device=logits.device)  # (P, K)
        V = logprobs.shape[-1]
        totals = (logprobs.view(P, K, V) + held[:, :, None]).view(P, K * V)
        best = totals.topk(min(max(2, 1 + len(finals)) * K, K * V))
        rows: list[int] = []
        chosen: list[int] = []
        last = length == how.max_tokens
        for p, (s, values, places) in enumerate(
            zip(searches, best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            beams = _advance(s, values, places, V, length, finals, how, last) if s.open else list(range(K))
            rows += [p * K + b for b in beams]
            chosen += [text[-1] for text in s.texts] if s.texts[0] else [0] * K
        if last or not any(s.open for s in searches):
            break
        order = torch.tensor(rows, device=logits.device)
        state = stepper.reorder(state, order)
        logits, state = stepper.step(torch.tensor(chosen, device=logits.device), state)
    return [s.complete[: how.answers] for s in searches]


def _advance(
    s: _Search, values: list[float], places: list[int], V: int, length: int, finals: frozenset[int], how: Decoding,
    last: bool,
) -> list[int]:  # fmt: skip
    """One step of an open search; values and places, best first, are log-probabilities and beam * V + token.

    -> the K beams that the new ones go on from.
    """
    K = how.beams
    scale = length**how.length_penalty
    going: list[tuple[int, int, float]] = []
    for rank, (value, place) in enumerate(zip(values, places, strict=True)):
        beam, token = divmod(place, V)
        if token in finals:
            if rank < K:
                s.finish(s.texts[beam], True, value / scale, K)
        elif last:
            if rank < K:
                s.finish([*s.texts[beam], token], False, value / scale, K)
        elif len(going) < K:
            going.append((beam, token, value))
    if last:
        return list(range(K))
    if not going:  # every token of a tiny vocabulary ends
        s.open = False
        return list(range(K))
    going += [going[-1]] * (K - len(going))
    s.texts = [[*s.texts[beam], token] for beam, token, _ in going]
    s.scores = [score for _, _, score in going]
    if len(s.complete) == K:
        best_length = how.max_tokens if how.early_stopping == "never" and how.length_penalty > 0 else length
        hopeful = s.scores[0] / best_length**how.length_penalty > s.complete[-1].score
        s.open = hopeful and how.early_stopping is not True
    return [beam for beam, _, _ in going]
