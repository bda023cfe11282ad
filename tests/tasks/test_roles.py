"""Semantic role labelling: what the encoder reads, training, answers that depend on the sentence alone, bundles."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_roles
import torch

from wordloom.config import RolesConfig
from wordloom.data.batch import IGNORE
from wordloom.data.frames import Frame, FrameRecords, Sentence
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.architecture import Architecture
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.tasks.roles.answers import Asked, asked_of, split_words
from wordloom.tasks.roles.lexicon import Lexicon
from wordloom.tasks.roles.reader import best_threshold, outputs, style_of
from wordloom.tasks.roles.task import Roles, RolesStream
from wordloom.tasks.roles.units import make_units, pieces_of, units_of
from wordloom.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def own() -> Tokenizer:
    return tiny_roles.tokenizer()


SHAPE = {"width": 32, "layers": 2, "heads": 2, "ffn_width": 64, "max_positions": 64, "dropout": 0.0,
         "attention_dropout": 0.0, "init_std": 0.2}  # fmt: skip
FAMILIES = {
    "bert": ("types", {}),
    "roberta": ("separators", {"types": 1}),
    "bert-once": ("sentence", {}),
    "gpt2": ("sentence", {"attention": "causal", "types": 0}),
    "bilstm": ("sentence", {"cell": "lstm", "bidirectional": True}),
    "gru": ("sentence", {"cell": "gru"}),
}


def architecture(name: str, own: Tokenizer):
    _, values = FAMILIES[name]
    if "cell" in values:
        return RecurrentArchitecture(vocab_size=own.vocab_size, width=32, layers=1, init_std=0.3, **values)
    return Architecture(vocab_size=own.vocab_size, **{**SHAPE, **values})


def set_up(name: str, own: Tokenizer, train: FrameRecords, **config):
    config = {"encoding": "sentence", **config} if name == "bert-once" else config
    return tiny_roles.build(train, architecture(name, own), own, **config)


@pytest.mark.parametrize("name", FAMILIES)
def test_eight_sentences_are_learnt_by_heart(name, own):
    train = tiny_roles.records(8)
    task, model = set_up(name, own, train)
    assert task.style == FAMILIES[name][0]
    stream = RolesStream(task, train, batch=64, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(60 if "cell" in FAMILIES[name][1] else 90):
        terms, _ = task.loss(model, stream.step(step, 1)[0])
        loss = sum(t.sum / max(1, t.count) for t in terms.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    answers = task.predict(model, task.inputs(train))
    assert [a.given for a in answers] == [s.frames for s in train.sentences]
    assert [a.found for a in answers] == [s.frames for s in train.sentences]
    scores = {k: t.value for k, t in task.tallies(train, answers).items()}
    assert set(scores) >= {"f1", "f1_predicted", "predicate_f1", "sense_accuracy"} and set(scores.values()) == {1.0}
    evaluated = task.evaluate(model)
    assert evaluated["f1"] == 1.0 and evaluated["loss"] < 0.05
    # without its predicates a text is answered with those that are found
    texts = [" ".join(s.words) for s in train.sentences]
    assert [a.frames for a in task.predict(model, texts)] == [s.frames for s in train.sentences]


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_do_not_depend_on_what_is_read_beside(name, own):
    records = tiny_roles.records(12, seed=3)
    task, model = set_up(name, own, records)
    task.threshold = 0.45
    inputs = task.inputs(records)
    together = task.predict(model, inputs)
    task.budget = 40
    assert task.predict(model, inputs) == together
    assert [task.predict(model, [x])[0] for x in inputs] == together
    assert task.predict(model, inputs[::-1]) == together[::-1]


@pytest.mark.parametrize("name", ["bert", "bilstm"])
def test_logits_of_a_sentence_are_the_same_alone_and_in_a_batch(name, own):
    """Exactly what ``test_answers...`` sees only where an answer flips."""
    records = tiny_roles.records(9, seed=1)
    task, model = set_up(name, own, records)
    stream = RolesStream(task, records, batch=64, seed=0)
    whole = outputs(model, stream._batch(np.arange(len(stream.units.units))))
    alone = [outputs(model, stream._batch(np.array([u]))) for u in range(len(stream.units.units))]
    torch.testing.assert_close(torch.cat([o.predicates for o in alone]), whole.predicates, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([o.tags for o in alone]), whole.tags, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", ["types", "separators", "sentence"])
def test_every_word_of_a_long_sentence_is_read_once(own, style):
    """A sentence of several windows: each word at its own first token, and every window full of whole context."""
    words = tuple(("she gave the ball to a very old man today " * 6).split())
    pieces = pieces_of(own, [words, ("he", "ran")])
    places = [(1, 51), (1,)]
    units = make_units(own, pieces, units_of(places, style), style, 32)
    assert int(np.diff(units.first).sum()) == sum(len(words if u.sentence == 0 else "ab") for u in units.units)
    assert units.windows.lengths.max() <= 32 and units.windows.counts.max() > 2
    tokens, starts = units.windows.tokens, units.windows.starts
    for u, unit in enumerate(units.units):
        own_words = (words, ("he", "ran"))[unit.sentence]
        first = pieces[unit.sentence].first
        for k in range(len(own_words)):
            n = units.first[u] + k
            assert tokens[starts[units.window[n]] + units.col[n]] == pieces[unit.sentence].ids[first[k]]
            assert units.windows.first[u] <= units.window[n] < units.windows.first[u + 1]
        edge = np.diff(starts)[units.window[units.first[u] : units.first[u + 1]]] - 1
        assert (units.col[units.first[u] : units.first[u + 1]] >= 1).all()
        assert (units.col[units.first[u] : units.first[u + 1]] < edge).all()


def test_how_a_predicate_is_told(own):
    """BERT: second segment at the predicate and its repetition; without segments: separators around it."""
    words = ("he", "gave", "up", "it")
    pieces = pieces_of(own, [words])
    ids, first = pieces[0].ids.tolist(), pieces[0].first.tolist()
    cls, sep, verb = own.cls_id, own.sep_id, ids[first[1] : first[2]]
    typed = make_units(own, pieces, units_of([(1,)], "types", plain=False), "types", 32)
    assert typed.windows.tokens.tolist() == [cls, *ids, sep, *verb, sep]
    marked = [0, *(int(first[1] <= k < first[2]) for k in range(len(ids))), 0, *[1] * (len(verb) + 1)]
    assert typed.windows.types.tolist() == marked
    parted = make_units(own, pieces, units_of([(1,)], "separators", plain=False), "separators", 32)
    assert parted.windows.tokens.tolist() == [cls, *ids[: first[1]], sep, *verb, sep, *ids[first[2] :], sep]
    assert parted.col.tolist() == [1, 1 + first[1] + 1, 1 + first[2] + 2, 1 + first[3] + 2]
    assert not parted.windows.types.any()


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_a_word_without_tokens_is_unknown_and_not_left_out(kind):
    from wordloom.config import TokenizerConfig

    own = Tokenizer.train(list(tiny_roles.records(200, 9).texts()), TokenizerConfig(kind=kind, vocab_size=300))
    words = ("she", "\u200d", "gave", "\ufe0f", "it")
    (pieces,) = pieces_of(own, [words])
    assert (np.diff(pieces.first) >= 1).all() and pieces.first[-1] == len(pieces.ids)
    kept = [own.decode(pieces.ids[a:b]).strip() for a, b in zip(pieces.first, pieces.first[1:], strict=False)]
    assert [kept[0], kept[2], kept[4]] == ["she", "gave", "it"]


@pytest.mark.parametrize("name", ["bert", "bilstm"])
def test_an_epoch_holds_every_label_once_whatever_the_parts(name, own):
    train = tiny_roles.records(20)
    task, _ = set_up(name, own, train)
    stream = RolesStream(task, train, batch=6, seed=1)
    frames = sum(len(s.frames) for s in train.sentences)
    for parts in (1, 3):
        batches = [b for step in range(stream.steps_per_epoch) for b in stream.step(step, parts)]
        counts = [task.counts(b) for b in batches]
        assert sum(c["arguments"] for c in counts) == sum(len(s.words) * len(s.frames) for s in train.sentences)
        assert sum(c["predicates"] for c in counts) == sum(len(s.words) for s in train.sentences)
        assert sum(int(b.examples["is_predicate"].sum()) for b in batches) == frames
        senses = [f.sense for s in train.sentences for f in s.frames if f.lemma == "give"]
        assert sum(c["senses"] for c in counts) == len(senses)
        begun = sum(int((b.examples["tags"] % 2 == 1).sum()) for b in batches)
        assert begun == sum(len(f.arguments) for s in train.sentences for f in s.frames)


def test_labels_that_training_lacks_are_scored_as_missed(own):
    train = tiny_roles.records(8)
    task, model = set_up("bert", own, train)
    other = [
        replace(f, arguments=tuple(a._replace(label="ARG9") for a in f.arguments)) for f in train.sentences[0].frames
    ]
    valid = FrameRecords([replace(train.sentences[0], frames=tuple(other))])
    assert set(task.target(3, other[0]).tags.tolist()) <= {0, IGNORE}
    tallies = task.tallies(valid, task.predict(model, task.inputs(valid)))
    assert tallies["recall"].counts[0, 1] == len(other[0].arguments) and tallies["recall"].value == 0


def test_a_bundle_answers_as_before(own, tmp_path):
    train = tiny_roles.records(10)
    for name in ("bert", "bilstm"):
        task, model = set_up(name, own, train)
        task.calibrate(model)
        predictor = TaskPredictor(model, own, task)
        predictor.save(tmp_path / name)
        again = TaskPredictor.load(tmp_path / name, lambda _: Roles.restore)
        assert again.task.threshold == task.threshold
        assert again.predict(task.inputs(train)) == predictor.predict(task.inputs(train))
    with pytest.raises(BundleError, match="lexicon"):
        Roles.restore({**task.settings(), "lexicon": {"labels": []}}, own)


def test_a_causal_model_is_told_predicates_by_the_head_alone(own):
    arch = architecture("gpt2", own)
    assert style_of(RolesConfig(), arch) == "sentence"
    with pytest.raises(ConfigError, match="sees the whole sentence"):
        style_of(RolesConfig(encoding="predicate"), arch)
    with pytest.raises(ConfigError, match="leave no room"):
        make_units(own, pieces_of(own, [("she",)]), units_of([()], "types"), "types", 8)


def test_senses_are_those_of_the_lemma(own):
    train = tiny_roles.records(20)
    lexicon = Lexicon.fit(train.sentences)
    assert lexicon.lemma("Gave") == "give" and set(lexicon.candidates("give")) == {"give.01", "give_up.08"}
    assert lexicon.numbers("run") == () and lexicon.candidates("swim") == ("swim.01",)
    np.testing.assert_allclose(np.exp(lexicon.log_shares()).sum(), 1, rtol=1e-6)
    task, model = set_up("bert", own, train)
    (answer,) = task.predict(model, [{"words": ["she", "swam"], "predicates": [1]}])
    assert answer.frames[0].sense == f"{answer.frames[0].lemma}.01"
    plain = FrameRecords([Sentence(("a", "b"), (Frame(1, "b", "02"),)), Sentence(("c",), (Frame(0, "c", "01"),))])
    assert Lexicon.fit(plain.sentences).candidates("d") == ("01",)


def test_the_lemma_of_an_unseen_word_is_made_as_others_are():
    seen = {"walked": "walk", "talked": "talk", "tried": "try", "cried": "cry", "making": "make", "taking": "take"}
    lexicon = Lexicon((), {"walk": {}, "bake": {}, "rely": {}}, seen)
    assert [lexicon.lemma(w) for w in ("Balked", "relied", "baking", "XXL")] == ["balk", "rely", "bake", "xxl"]


def test_the_threshold_is_the_best_one():
    said, gold = np.array([0.9, 0.2, 0.7, 0.4, 0.1], np.float32), np.array([1, 1, 1, 0, 0])
    # F1 after 1, 2, 3, 4 words: 2/4, 4/5, 4/6, 6/7
    assert best_threshold(said, gold) == pytest.approx(0.15)
    assert best_threshold(said, np.zeros(5, np.int64)) == 0.5
    assert best_threshold(np.array([0.5, 0.5], np.float32), np.array([1, 0])) == pytest.approx(0.25)


def test_text_is_cut_as_treebanks_cut_it():
    text = "Mr. Smith's dogs don't cost $1,000.50 (or so)... we'll see!"
    words = [text[a:b] for a, b in split_words(text)]
    assert " ".join(words) == "Mr. Smith 's dogs do n't cost $ 1,000.50 ( or so ) ... we 'll see !"
    assert [len(w) for w in asked_of("他买书。").words][-1] == 1 and "".join(asked_of("他买书。").words) == "他买书。"


@pytest.mark.parametrize(
    "given", [3, ["a", ""], [1], {"words": ["a"], "predicates": [1]}, {"words": ["a"], "predicates": "0"}, {}]
)
def test_what_is_no_sentence_is_refused(own, given):
    task, _ = set_up("bert", own, tiny_roles.records(4))
    with pytest.raises(DataError):
        task.check([given])


def test_an_empty_sentence_has_no_frames(own):
    task, model = set_up("bert", own, tiny_roles.records(4))
    answers = task.predict(model, ["", Asked(())])
    assert [a.frames for a in answers] == [(), ()]
    assert "(no predicate)" in task.line("", answers[0])
