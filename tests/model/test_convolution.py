"""TextCNN against torch's Conv1d, document by document; the bag against the mean of a table; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wordloom import presets
from wordloom.api.objectives import refuse_unfit
from wordloom.config import OBJECTIVES
from wordloom.errors import BundleError, ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import architecture_from_json, make_body
from wordloom.model.convolution import Convolution, ConvolutionArchitecture
from wordloom.model.heads import ClassifyHead, window_max
from wordloom.model.interop import load_bundle, save_bundle
from wordloom.model.model import Model

VOCABULARY = 50
# rows of documents by length; what is left of a row is padding: 1, shorter than every filter, and side by side
ROWS = [[1, 7, 2], [12], [3, 4, 5], [6, 1]]
T = 12


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """tokens, documents (B, T); rows, cols (W,) where each document begins. Padding has tokens too: noise."""
    tokens = torch.randint(VOCABULARY, (len(ROWS), T), generator=torch.Generator().manual_seed(seed))
    documents = torch.zeros(len(ROWS), T, dtype=torch.int64)
    starts = []
    for r, lengths in enumerate(ROWS):
        column = 0
        for number, length in enumerate(lengths, start=1):
            documents[r, column : column + length] = number
            starts.append((r, column))
            column += length
    rows, cols = torch.tensor(starts).T
    return tokens, documents, rows, cols


def network(**values: Any) -> Convolution:
    torch.manual_seed(1)
    body = make_body(ConvolutionArchitecture(**{"vocab_size": VOCABULARY, "width": 20, "init_std": 0.5, **values}))
    assert isinstance(body, Convolution)
    for name, p in body.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p)  # zero at first: a bias left out would not show
    return body.double().eval()


def states(body: Convolution, tokens: Tensor, documents: Tensor) -> Tensor:
    return body(tokens, documents, torch.zeros_like(tokens), torch.zeros_like(tokens))


@pytest.mark.parametrize("widths", [(3, 4, 5), (1,), (2, 7), (6,)], ids=str)
def test_states_and_their_maximum_are_those_of_conv1d(widths: tuple[int, ...]) -> None:
    """Kim's equation 2 by torch's own layer, each document alone between zeros, and its maximum over the text."""
    body = network(widths=widths)
    tokens, documents, rows, cols = batch()
    hidden = states(body, tokens, documents)
    pooled = window_max(hidden, rows, cols, documents)
    for w, (row, column) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
        mine = documents[row] == documents[row, column]
        x = body.embeddings.tokens.weight[tokens[row, mine]].T[None]  # (1, D, n)
        maps = []
        for width, ours in zip(widths, body.filters, strict=True):
            layer = nn.Conv1d(20, ours.out_channels, width).double()
            layer.load_state_dict(ours.state_dict())
            maps.append(torch.relu(layer(nn.functional.pad(x, ((width - 1) // 2, width // 2)))))
        wanted = torch.cat(maps, dim=1)[0].T  # (n, D)
        torch.testing.assert_close(hidden[row, mine], wanted)
        torch.testing.assert_close(pooled[w], wanted.amax(0))
    assert not hidden[documents == 0].any()


def test_no_document_sees_padding_or_another() -> None:
    """Gradients: the states of one document move no embedding outside it, and every one inside."""
    body = network(widths=(3, 4, 5))
    tokens = torch.arange(len(ROWS) * T).view(len(ROWS), T)  # each token once
    _, documents, rows, cols = batch()
    for row, column in zip(rows.tolist(), cols.tolist(), strict=True):
        mine = documents[row] == documents[row, column]
        body.zero_grad()
        states(body, tokens, documents)[row, mine].sum().backward()
        touched = body.embeddings.tokens.weight.grad.abs().sum(1).nonzero().flatten()  # type: ignore[union-attr]
        assert touched.tolist() == tokens[row, mine].tolist()


def test_the_maximum_shares_its_gradient_and_reads_negative_states() -> None:
    hidden = torch.tensor([[[-3.0], [-1.0], [-1.0], [9.0], [0.0]]], requires_grad=True)
    documents = torch.tensor([[1, 1, 1, 2, 0]])
    found = window_max(hidden, torch.tensor([0, 0]), torch.tensor([3, 0]), documents)
    assert found.flatten().tolist() == [9.0, -1.0]
    found.sum().backward()
    assert hidden.grad is not None and hidden.grad.flatten().tolist() == [0.0, 0.5, 0.5, 1.0, 0.0]


@pytest.mark.parametrize("layers", [0, 2])
def test_a_deep_averaging_network_written_out(layers: int) -> None:
    body = network(layers=layers)
    head = ClassifyHead(body.arch, 3, body.arch.pooling).double().eval()
    tokens, documents, rows, cols = batch()
    logits = head(states(body, tokens, documents), rows, cols, documents)
    for w, (row, column) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
        z = body.embeddings.tokens.weight[tokens[row, documents[row] == documents[row, column]]].mean(0)
        for layer in head.layers:
            z = torch.relu(layer.weight @ z + layer.bias)  # type: ignore[operator]
        # the mean of packed windows is taken in float32 or better
        torch.testing.assert_close(logits[w], head.output.weight @ z + head.output.bias, rtol=1e-9, atol=1e-9)
    assert len(head.layers) == layers and not states(body, tokens, documents)[documents == 0].any()


def test_words_are_left_out_as_often_as_said() -> None:
    body = network(dropout_embedding=0.3, width=4, vocab_size=VOCABULARY).train()
    tokens = torch.full((40, 100), 7)
    found = states(body, tokens, torch.ones_like(tokens)) / body.embeddings.tokens.weight[7]
    kept = found[..., 0] > 0
    torch.testing.assert_close(found, (kept[..., None] / 0.7).expand(-1, -1, 4).to(found))  # whole tokens
    assert float(kept.double().mean()) == pytest.approx(0.7, abs=0.03)
    assert not torch.equal(kept[0], kept[1])


def test_maps_are_shared_out() -> None:
    assert ConvolutionArchitecture(9, 300, widths=(3, 4, 5)).maps == (100, 100, 100)
    assert ConvolutionArchitecture(9, 32, widths=(3, 4, 5)).maps == (11, 11, 10)
    assert presets.architecture("dan-small", 9).maps == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"widths": (3, 0)}, "widths must be a whole number above 0"),
        ({"widths": 3}, "widths must be whole numbers"),
        ({"widths": (1, 2, 3), "width": 2}, "leaves no map for each of 3 filters"),
        ({"layers": -1}, "layers must be a whole number of at least 0"),
        ({"dropout_embedding": 1.0}, "dropout_embedding must be at least 0 and below 1"),
        ({"init_std": 0.0}, "init_std must lie between 0 and 1"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ConvolutionArchitecture(**{"vocab_size": 9, "width": 8, **values})
    with pytest.raises(BundleError, match=said):
        architecture_from_json({"vocab_size": 9, "width": 8, "widths": [], **values})


def test_one_token_stands_for_no_text() -> None:
    for pooling in ("cls", "last"):
        with pytest.raises(ConfigError, match="reads one token"):
            ClassifyHead(ConvolutionArchitecture(9, 8), 2, pooling)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dan-tiny", "textcnn-tiny"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_objective_pre_trains_them(name: str, objective: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} sees a token .* wordloom finetune {name}"):
        refuse_unfit(OBJECTIVES[objective](), presets.architecture(name, 50), name)  # type: ignore[arg-type]


def test_a_transformer_pooled_by_its_maximum_is_saved_as_one(tmp_path: Path) -> None:
    """No public classifier takes the maximum: the body is BERT's, the head is ours."""
    torch.manual_seed(0)
    arch = Architecture(VOCABULARY, 16, 1, 2, 32, max_positions=T)
    body = make_body(arch)
    model = Model(body, {"classify": ClassifyHead(arch, 2, "max")}).eval()
    save_bundle(tmp_path / "bundle", model, "classify", {"labels": ["a", "b"]})
    loaded = load_bundle(tmp_path / "bundle")
    tokens, documents, rows, cols = batch()
    inputs = (tokens, documents, torch.arange(T).expand_as(tokens), torch.zeros_like(tokens))
    found = [m.heads["classify"](m.body(*inputs), rows, cols, documents) for m in (model, loaded.model)]
    assert loaded.twin == "body" and torch.equal(*found)
