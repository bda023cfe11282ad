"""The head of semantic role labelling, against its equations written out and torch's own bidirectional LSTM."""

import pytest
import torch
import torch.nn.functional as F

from wordloom.model.architecture import Architecture
from wordloom.model.roles_head import RolesHead

D, K, S = 8, 7, 5
SIZES, PLACES = (4, 1, 3), (2, 0, 1)  # words of three frames, and where their predicates stand in them


def head(layers: int) -> RolesHead:
    torch.manual_seed(layers)
    arch = Architecture(vocab_size=9, width=D, layers=1, heads=2, ffn_width=8, init_std=0.5, dropout=0.0)
    made = RolesHead(arch, K, S, layers)
    torch.nn.init.normal_(made.sense_bias)
    return made.double().eval()


def read(own: RolesHead, x: torch.Tensor, place: int) -> torch.Tensor:
    """x (n, D) of one frame: the indicator added, then torch's LSTM in both directions and the matrix to D."""
    mark = torch.zeros(len(x), dtype=torch.int64)
    mark[place] = 1
    x = x + own.indicator.weight[mark]
    for layer in own.readers:
        states = []
        for cell, turned in ((layer.cell, False), (layer.backward_cell, True)):
            assert cell is not None
            lstm = torch.nn.LSTM(cell.input_size, cell.hidden_size, batch_first=True).double()
            lstm.load_state_dict(cell.state_dict())
            y = lstm((x.flip(0) if turned else x)[None])[0][0]
            states.append(y.flip(0) if turned else y)
        x = torch.cat(states, dim=-1)
        x = x if layer.project is None else F.linear(x, layer.project.weight, layer.project.bias)
    return x


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_frames_are_as_their_equations_say(layers: int) -> None:
    own = head(layers)
    states = torch.randn(sum(SIZES), D, dtype=torch.float64)
    frame = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    begins = (0, 4, 5)
    predicates = torch.tensor([b + p for b, p in zip(begins, PLACES, strict=True)])
    candidates = torch.tensor([[3, 1, -1], [-1, -1, -1], [0, 4, 2]])
    tags, senses = own.frames(states, frame, predicates, candidates)
    for f, (start, size, place) in enumerate(zip(begins, SIZES, PLACES, strict=True)):
        x = states[start : start + size]
        x = read(own, x, place) if layers else x
        both = torch.cat([x, x[place].expand(size, D)], dim=-1)
        hidden = F.gelu(F.linear(both, torch.cat([own.word.weight, own.owner.weight], dim=1), own.word.bias))
        expected = F.linear(hidden, own.output.weight, own.output.bias)
        torch.testing.assert_close(tags[start : start + size], expected)
        for c, number in enumerate(candidates[f].tolist()):
            said = own.sense.weight[number] @ x[place] + own.sense_bias[number] if number >= 0 else -torch.inf
            torch.testing.assert_close(senses[f, c], torch.as_tensor(said, dtype=torch.float64))


def test_words_alone_say_which_are_predicates() -> None:
    own, states = head(0), torch.randn(6, D, dtype=torch.float64)
    torch.testing.assert_close(own.predicates(states), states @ own.predicate.weight[0] + own.predicate.bias)


def test_nothing_is_read_where_there_is_no_frame() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for layers in (0, 1):
        tags, senses = head(layers).frames(torch.zeros(0, D, dtype=torch.float64), none, none, none.view(0, 1))
        assert tags.shape == (0, K) and senses.shape == (0, 1)
