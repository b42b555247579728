"""The pipeline against Hugging Face's `tokenizers`: added tokens, templates, truncation, padding, decoders."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders, postprocess
from tinyllm.tokenizers.added import SPACES, AddedToken
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.encoding import Padding, Truncation
from tinyllm.tokenizers.models import WordLevel
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.stage import PreTokenizer, as_json

hf = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.oracle
many = settings(max_examples=500, deadline=None)


def text_of(alphabet: str, min_size: int = 0, max_size: int = 20) -> st.SearchStrategy[str]:
    """As st.text, which also draws strings that it finds in loaded modules: other ones beside other tests."""
    return st.lists(st.sampled_from(alphabet), min_size=min_size, max_size=max_size).map("".join)


VOCAB = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "b", "<x>", "e\u0301", "北"])}


@dataclass(frozen=True)
class WhitespaceSplit(PreTokenizer):
    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return [text.cut(*found.span()) for found in re.finditer(f"[^{SPACES}]+", text.text)]


def both(added: list[AddedToken], processor=None, truncation=None, padding=None):
    """Ours, and theirs with a model that doesn't know the names of special tokens: ours never reads one out of text
    where it isn't recognised, theirs would (a name that is no single word, say). So ids differ, and names are compared.
    """
    ours = Tokenizer(
        WordLevel(VOCAB, "[UNK]"),
        pre_tokenizer=WhitespaceSplit(),
        added_tokens=added,
        post_processor=processor,
        truncation=truncation,
        padding=padding,
    )
    special = {token.content for token in added if token.special}
    known = [word for word in VOCAB if word not in special]
    theirs = hf.Tokenizer(hf.models.WordLevel({word: i for i, word in enumerate(known)}, "[UNK]"))
    theirs.pre_tokenizer = hf.pre_tokenizers.WhitespaceSplit()
    for token in added:
        fields = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        one = hf.AddedToken(token.content, **fields)
        (theirs.add_special_tokens if token.special else theirs.add_tokens)([one])
    return ours, theirs


FLAGS = st.booleans()
NAME, TEXT = "ab<éⒶ\u0301", "ab<éⒶ\u03011_\u200d \n\u3000"
ADDED = st.lists(
    st.builds(AddedToken, text_of(NAME, min_size=1, max_size=3), FLAGS, FLAGS, FLAGS, FLAGS, FLAGS),
    max_size=5,
    unique_by=lambda token: token.content,
)


@many
@given(st.data())
def test_added_tokens(data):
    # Theirs matches names in order of the passes: first what is not normalized, then the rest, both left to right.
    added = data.draw(ADDED)
    parts = [text_of(TEXT, max_size=4), *(st.just(token.content) for token in added)]  # names side by side, too
    text = "".join(data.draw(st.lists(st.one_of(parts), max_size=8)))
    ours, theirs = both(added)
    expected = theirs.encode(text)
    found = ours.encode_with_offsets(text, "all")
    assert found.ids == ours.encode(text, "all")
    names = {i: name for name, i in theirs.get_vocab().items()}
    assert [ours.tokens[i].decode() for i in found.ids] == [names[i] for i in expected.ids]
    assert found.offsets == expected.offsets
    assert ours.vocab_size == theirs.get_vocab_size()


PAIRS = st.tuples(text_of("ab ", max_size=30), st.one_of(st.none(), text_of("ab ", max_size=30)))
CLS, SEP = ("[CLS]", 1), ("[SEP]", 2)
TEMPLATES = [
    ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    ("$0", "$B $A:3 [SEP]:2"),
    ("$A:2 [SEP]", "$A $B"),
]
PROCESSORS = [
    (None, None),
    (postprocess.BertProcessing(SEP, CLS), hf.processors.BertProcessing(SEP, CLS)),
    (postprocess.RobertaProcessing(SEP, CLS), hf.processors.RobertaProcessing(SEP, CLS)),
    (
        postprocess.RobertaProcessing(SEP, CLS, add_prefix_space=False),
        hf.processors.RobertaProcessing(SEP, CLS, add_prefix_space=False),
    ),
    (postprocess.ByteLevel(), hf.processors.ByteLevel()),
    *(
        (
            postprocess.TemplateProcessing.of(single, pair, {"[CLS]": 1, "[SEP]": 2}),
            hf.processors.TemplateProcessing(single=single, pair=pair, special_tokens=[CLS, SEP]),
        )
        for single, pair in TEMPLATES
    ),
]
PROCESSORS.append(
    (
        postprocess.Sequence((postprocess.ByteLevel(trim_offsets=True), PROCESSORS[5][0])),
        hf.processors.Sequence([hf.processors.ByteLevel(trim_offsets=True), PROCESSORS[5][1]]),
    )
)
COLUMNS = ("ids", "offsets", "type_ids", "attention_mask", "special_tokens_mask", "sequence_ids")
STRATEGIES = {"LongestFirst": "longest_first", "OnlyFirst": "only_first", "OnlySecond": "only_second"}


def same(ours, theirs, columns, of_windows):
    for name in columns:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours.overflowing) == len(theirs.overflowing)
    for one, other in zip(ours.overflowing, theirs.overflowing, strict=True):
        for name in of_windows:
            assert getattr(one, name) == getattr(other, name), name


def renumbers(processor, pair: bool, special: bool) -> bool:
    """Whether texts get other types than 0 and 1: theirs then leaves the windows cut from them as they were."""
    if isinstance(processor, postprocess.Sequence):
        return any(renumbers(one, pair, special) for one in processor.processors)
    if isinstance(processor, postprocess.TemplateProcessing):
        pieces = processor.pair if pair else processor.single
        return any(one.kind == "Sequence" and one.type_id != "AB".index(one.id) for one in pieces)
    return isinstance(processor, postprocess.RobertaProcessing) and pair and not special


@many
@given(st.data())
def test_what_a_model_takes(data):
    draw = data.draw
    processor, their_processor = draw(st.sampled_from(PROCESSORS))
    truncation = draw(
        st.one_of(
            st.none(),
            st.builds(
                Truncation,
                st.sampled_from(range(4, 13)),
                st.sampled_from([*STRATEGIES]),
                st.sampled_from(range(0, 4)),
                st.sampled_from(["Left", "Right"]),
            ),
        )
    )
    padding = draw(
        st.one_of(
            st.none(),
            st.builds(
                Padding,
                st.one_of(st.none(), st.sampled_from(range(0, 21))),
                st.one_of(st.none(), st.sampled_from(range(1, 9))),
                st.sampled_from(["Left", "Right"]),
                st.just(3),
                st.sampled_from(range(0, 2)),
                st.just("[PAD]"),
            ),
        )
    )
    ours, theirs = both([], processor, truncation, padding)
    if their_processor is not None:
        theirs.post_processor = their_processor
    if truncation:
        options = {"strategy": STRATEGIES[truncation.strategy], "direction": truncation.direction.lower()}
        try:
            theirs.enable_truncation(truncation.max_length, stride=truncation.stride, **options)
        except ValueError:
            return  # theirs refuses at once a stride that ours refuses when a text is cut
    if padding:
        theirs.enable_padding(
            direction=padding.direction.lower(),
            pad_id=padding.pad_id,
            pad_type_id=padding.pad_type_id,
            pad_token=padding.pad_token,
            length=padding.length,
            pad_to_multiple_of=padding.pad_to_multiple_of,
        )
    special = draw(st.booleans())
    batch = draw(st.lists(PAIRS, min_size=1, max_size=3))
    items = [text if pair is None else (text, pair) for text, pair in batch]
    try:
        expected = theirs.encode_batch(items, add_special_tokens=special)
    except BaseException as error:  # theirs panics where a window is no longer than what it shares with the next
        if isinstance(error, KeyboardInterrupt):
            raise
        with pytest.raises(TokenizerError):
            ours.prepare_batch(items, special)
        return
    for item, one, other in zip(items, ours.prepare_batch(items, special), expected, strict=True):
        # Without a post-processor theirs forgets which text is which where it cuts or fills.
        columns = COLUMNS if processor else COLUMNS[:-1]
        other_types = renumbers(processor, isinstance(item, tuple), special)
        same(one, other, columns, [name for name in columns if name != "type_ids" or not other_types])


TOKENS = [
    "a",
    "##b",
    " ",
    "▁",
    "▁a▁b",
    "b▁",
    "<0x41>",
    "<0xC3>",
    "<0xA9>",
    "<0xzz>",
    "c</w>",
    "</w>d",
    "|",
    "<pad>",
    "x",
]
TOKENS += [" .", "do not", "n't", "  ab  ", "'", "é", "北"]
DECODERS = [
    (decoders.WordPiece(cleanup=True), hf.decoders.WordPiece()),
    (decoders.WordPiece("@@", False), hf.decoders.WordPiece("@@", cleanup=False)),
    (decoders.Metaspace(), hf.decoders.Metaspace()),
    (decoders.Metaspace("▁", "never"), hf.decoders.Metaspace("▁", "never")),
    (decoders.Metaspace("▁", "first"), hf.decoders.Metaspace("▁", "first")),
    (decoders.BPEDecoder(), hf.decoders.BPEDecoder()),
    (decoders.ByteFallback(), hf.decoders.ByteFallback()),
    (decoders.Fuse(), hf.decoders.Fuse()),
    (decoders.CTC(), hf.decoders.CTC()),
    (decoders.CTC(cleanup=False), hf.decoders.CTC(cleanup=False)),
    (decoders.Replace("▁", " "), hf.decoders.Replace("▁", " ")),
]
LLAMA = (decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0))
THEIR_LLAMA = [
    hf.decoders.Replace("▁", " "),
    hf.decoders.ByteFallback(),
    hf.decoders.Fuse(),
    hf.decoders.Strip(" ", 1, 0),
]


@many
@given(st.data())
def test_decoders(data):
    """Every decoder alone, the usual sequence, and any sequence."""
    pairs = data.draw(st.lists(st.sampled_from(DECODERS), min_size=2, max_size=4))
    chosen = [pairs[0], (decoders.Sequence(tuple(p[0] for p in pairs)), hf.decoders.Sequence([p[1] for p in pairs]))]
    chosen.append((decoders.Sequence(LLAMA), hf.decoders.Sequence(THEIR_LLAMA)))
    ids = data.draw(st.lists(st.integers(0, len(TOKENS) - 1), max_size=10))
    vocab = {token: i for i, token in enumerate(TOKENS)}
    for ours, theirs in [*chosen, (None, None)]:
        reference = hf.Tokenizer(hf.models.WordLevel(vocab, "a"))
        if theirs is not None:
            reference.decoder = theirs
        tokenizer = Tokenizer(WordLevel(vocab, "a"), decoder=ours)
        expected = reference.decode(ids, skip_special_tokens=False)
        assert tokenizer.decode(ids) == expected, ours
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) + stream.finish() == expected


def test_json_of_decoders_and_post_processors_is_theirs():
    import json

    for ours, theirs in [*DECODERS, *PROCESSORS[1:], (decoders.Sequence(LLAMA), hf.decoders.Sequence(THEIR_LLAMA))]:
        assert as_json(ours) == json.loads(theirs.__getstate__()), ours
