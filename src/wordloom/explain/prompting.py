"""A causal model as a classifier: k labelled examples and a text as a prompt, each label by the log p of its word.

The prompts and their calibration are those of Zhao et al. 2021, Calibrate Before Use, sections 2 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.explain.likelihood import BATCH_TOKENS, batches, log_p, states_at
from wordloom.model.cache import Cache
from wordloom.model.transformer import Transformer
from wordloom.text.tokenizer import Tokenizer

TEMPLATE = "Text: {text}\nLabel: {label}\n\n"
CONTENT_FREE = ("N/A", "[MASK]", "")  # section 5
WORTH = 16  # tokens that all prompts share, from which reading them once pays
LEAST = 4  # tokens of a text below which asking about it is no question
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Template:
    """An example as text: before {text}, between it and {label}, after. Of a text that is asked about, the prompt ends
    before {label} and the blanks before it, which go to the word: byte-level vocabularies hold " positive" as one."""

    before: str
    between: str
    after: str

    @classmethod
    def parse(cls, template: str) -> Template:
        """Raises ConfigError unless {text} and then {label} stand in it, once each."""
        before, _, rest = template.partition("{text}")
        between, _, after = rest.partition("{label}")
        wrong = [name for name in ("{text}", "{label}") if template.count(name) != 1]
        if wrong or template.index("{label}") < template.index("{text}") or not between:
            cure = r'write for example "Review: {text}\nSentiment: {label}\n\n"'
            raise ConfigError("a template holds {text} and, behind something, {label}, once each", cure=cure)
        return cls(before, between, after)

    def example(self, text: str, word: str) -> str:
        return f"{self.before}{text}{self.between}{word}{self.after}"

    def question(self, text: str) -> str:
        return f"{self.before}{text}{self.between.rstrip(' ')}"

    def answer(self, word: str) -> str:
        return " " * (len(self.between) - len(self.between.rstrip(" "))) + word


@dataclass(frozen=True)
class Prompts:
    """ids: a prompt's tokens, without the token that begins a text. cut: how many of the texts asked about, and of the
    examples, did not fit and lost their ends."""

    ids: list[list[int]]
    cut: int
    cut_shots: int


def make_prompts(
    tokenizer: Tokenizer,
    template: Template,
    shots: Sequence[tuple[str, str]],
    texts: Sequence[str],
    answers: Sequence[Sequence[int]],
    limit: int | None,
) -> Prompts:
    """shots: (text, label word) in the order they are shown. limit: tokens of prompt and answer, None: any number.

    Where they do not fit, an example keeps at most an equal share of the room, and a text what they leave.
    Raises ConfigError where that is less than LEAST tokens.
    """
    if limit is None:
        head = "".join(template.example(text, word) for text, word in shots)
        return Prompts(_ids(tokenizer, [head + template.question(text) for text in texts]), 0, 0)
    room = limit - max(map(len, answers))
    bare = "".join(template.example("", word) for _, word in shots) + template.question("")
    share = (room - len(_ids(tokenizer, [bare])[0])) // (len(shots) + 1)
    if share < LEAST:
        what = f"{len(shots)} examples leave {max(share, 0)} tokens for each text of the {limit} that the model reads"
        raise ConfigError(what, cure="ask for fewer --shots, or write a shorter template")
    kept = [_cut(tokenizer, text, share) for text, _ in shots]
    head = "".join(template.example(text, word) for text, (_, word) in zip(kept, shots, strict=True))
    found = _ids(tokenizer, [head + template.question(text) for text in texts])
    long = [i for i, ids in enumerate(found) if len(ids) > room]
    for i in long:
        keep = len(tokenizer.encode_ids([texts[i]])[0])
        while len(found[i]) > room and keep > 0:  # the tokens at a text's ends depend on what stands around it
            keep = max(0, keep - (len(found[i]) - room))
            found[i] = _ids(tokenizer, [head + template.question(_cut(tokenizer, texts[i], keep))])[0]
    return Prompts(found, len(long), sum(a != b for a, (b, _) in zip(kept, shots, strict=True)))


def answer_ids(tokenizer: Tokenizer, template: Template, words: Mapping[str, str]) -> list[list[int]]:
    """Tokens of each label's word. Raises ConfigError where there are none, or where two labels have the same."""
    found = _ids(tokenizer, [template.answer(word) for word in words.values()])
    for (label, word), ids in zip(words.items(), found, strict=True):
        if not ids or found.count(ids) > 1:
            what = f"the word {word!r} " + ("stands for two labels" if ids else "is no token")
            raise ConfigError(what, where=f"label {label}", cure=f"name another one with --word {label}=WORD")
    return found


def answer_log_p(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    start_id: int | None,
    hybrid: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> Floats:
    """(P, C) log p(answer c | prompt p) in nats: the sum over its tokens, each given the prompt and those before it.

    model: with a `Model.next_token_head`, in evaluation mode, on any device. start_id: read before a prompt, None:
    nothing is. Answers that differ in their last token alone are read off one row. What all prompts begin with, their
    examples, is read once by a Transformer.
    """
    head = model.next_token_head(hybrid)
    if head is None:
        cure = "use one pre-trained with the causal or hybrid objective"
        raise ConfigError("the model does not predict the next token: it cannot be prompted", cure=cure)
    begin = [] if start_id is None else [start_id]
    stems = sorted({tuple(answer[:-1]) for answer in answers})
    rows = sorted(((p, s) for p in range(len(prompts)) for s in range(len(stems))),
                  key=lambda row: len(prompts[row[0]]) + len(stems[row[1]]))  # fmt: skip
    lengths = np.array([len(begin) + len(prompts[p]) + len(stems[s]) for p, s in rows], np.int64)
    found = np.zeros((len(prompts), len(answers)))
    read = _read_shared(model, begin, prompts, hybrid)
    for a, b in batches(lengths, batch_tokens):
        tokens = np.zeros((b - a, int(lengths[b - 1])), np.int64)
        asked: list[tuple[int, int, int, int, int]] = []  # row, column, target, prompt, answer
        for i, (p, s) in enumerate(rows[a:b]):
            tokens[i, : lengths[a + i]] = [*begin, *prompts[p], *stems[s]]
            at = len(begin) + len(prompts[p]) - 1  # whose state predicts the answer's first token
            asked += [(i, at + j, target, p, c) for c, answer in enumerate(answers) if tuple(answer[:-1]) == stems[s]
                      for j, target in enumerate(answer)]  # fmt: skip
        row, col, target, prompt, answer = np.array(asked, np.int64).T
        inside = np.arange(tokens.shape[1]) < lengths[a:b, None]
        with torch.inference_mode():
            states = states_at(model, tokens, inside, row, col, causal_rows=hybrid, read=read)
            np.add.at(found, (prompt, answer), log_p(model, head, states, np.ascontiguousarray(target)))
    return found


def _read_shared(model: Any, begin: list[int], prompts: Sequence[Sequence[int]], hybrid: bool) -> Cache | None:
    """The cache of one row that holds what all prompts begin with; None where it is short, or cannot be kept apart."""
    least, most = min(map(list, prompts)), max(map(list, prompts))
    pairs = zip(least, most, strict=False)
    common = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(least), len(most)))
    common = min(common, min(map(len, prompts)) - 1)  # a prompt's last token predicts the answer
    if common < WORTH or not isinstance(model.body, Transformer):
        return None
    ids = np.array([[*begin, *least[:common]]], np.int64)
    table = model.token_embedding
    cache = Cache(model.body.arch, 1, ids.shape[1], dtype=table.dtype, device=table.device)
    nowhere = np.zeros(0, np.int64)
    with torch.inference_mode():
        states_at(model, ids, np.ones_like(ids, bool), nowhere, nowhere, causal_rows=hybrid, cache=cache)
    return cache


def normalised(logs: Floats) -> Floats:
    """(P, C) log p of words -> (P, C) p-hat: their probabilities among each other (section 2)."""
    p = np.exp(logs - logs.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True))


def calibrated(p: Floats, content_free: Floats) -> Floats:
    """p (P, C), content_free (M, C): of prompts whose text says nothing -> q (P, C).

    Zhao et al. 2021, section 5: W = diag(p_cf)^-1 and b = 0 in equation 1, q = softmax(W p + b), where p_cf is the mean
    of p over the content-free texts. The label is the argmax of W p either way; we divide W p by its sum instead of
    taking the softmax of probabilities, so that q is p again where p_cf is uniform.
    """
    weighted = p / content_free.mean(0)
    return np.asarray(weighted / weighted.sum(-1, keepdims=True))


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [ids.tolist() for ids in tokenizer.encode_ids(list(texts))]


def _cut(tokenizer: Tokenizer, text: str, tokens: int) -> str:
    """The beginning of a text that makes at most so many tokens."""
    offsets = tokenizer.encode([text])[0].offsets
    return text if len(offsets) <= tokens else text[: int(offsets[tokens - 1, 1])] if tokens else ""
