"""The pipeline: stages composed, added tokens, what a model takes, and text back out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product, takewhile
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import BPETokenizer, compiled, decoders, decoding, postprocess
from tinyllm.tokenizers import names as searching
from tinyllm.tokenizers.added import AddedToken, Finder
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.encoding import Encoding, Padding, Truncation, joined
from tinyllm.tokenizers.flow import Joining
from tinyllm.tokenizers.models import BPE, WordLevel
from tinyllm.tokenizers.normalizers import Replace
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.stage import Decoder, Normalizer, PostProcessor, PreTokenizer, as_json, from_json

fixed = settings(max_examples=200)

BYTES = [bytes([byte]) for byte in range(256)]
TRAINED = BPETokenizer.train("to be or not to be, that is the question: naïve café\n" * 3, 290, engine="python")
MODEL = BPE.from_ids(TRAINED.tokens, TRAINED.merges)
END = AddedToken("<|end|>", special=True)
TEXT = st.text(st.sampled_from("to be qusinaéï北🙂\n<|end|>\u0301A"), max_size=40)


@dataclass(frozen=True)
class Words(PreTokenizer):
    """Runs of what is no space, each with the spaces before it."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return [text.cut(*found.span()) for found in re.finditer(r"\s*\S+|\s+$", text.text)]


@dataclass(frozen=True)
class Lower(Normalizer):
    def normalize(self, text: Aligned) -> Aligned:
        found = re.finditer("[A-Zé]", text.text)
        return text.edited([(*m.span(), {"é": "ee"}.get(m.group(), m.group().lower())) for m in found])


def made(*added, **stages) -> Tokenizer:
    stages = {"pre_tokenizer": Words(), "decoder": decoders.ByteLevel(), **stages}
    return Tokenizer(MODEL, added_tokens=added, **stages)


@fixed
@given(TEXT)
def test_ids_offsets_and_text_agree(text):
    for tokenizer in made(END), made(END, pre_tokenizer=None), made(END, normalizer=Lower()):
        normal = text if tokenizer.normalizer is None else text.lower().replace("é", "ee")
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == normal
        for one in text, text.encode():
            encoding = tokenizer.encode_with_offsets(one)
            assert encoding.ids == ids == tokenizer.encode(one)
            starts, ends = [span[0] for span in encoding.offsets], [span[1] for span in encoding.offsets]
            assert starts == sorted(starts) and ends == sorted(ends)
            assert all(0 <= a < b <= len(one) for a, b in encoding.offsets)
            assert not ids or (starts[0], ends[-1]) == (0, len(one))
        encoding = tokenizer.encode_with_offsets(text, "all")
        assert encoding.ids == tokenizer.encode(text, "all") == tokenizer.encode(text.encode(), ["<|end|>"])
        assert [text[a:b] for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if i == 290] == [
            "<|end|>"
        ] * text.count("<|end|>")


def test_added_tokens():
    tokenizer = made(END, "bear", AddedToken("bz", single_word=True), AddedToken("XX", lstrip=True, rstrip=True))
    names = {290: "<|end|>", 291: "bear", 292: "bz", 293: "XX"}
    assert tokenizer.vocab_size == 294 and {i: t.content for i, t in tokenizer.added_tokens.items()} == names

    def parts(text, allowed=()):
        encoding = tokenizer.encode_with_offsets(text, allowed)
        assert encoding.ids == tokenizer.encode(text, allowed)
        return [text[a:b] for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if i >= 290]

    assert parts("a bear, bz <|end|>") == ["bear", "bz"]
    assert parts("a bear<|end|>", "all") == ["bear", "<|end|>"]
    assert parts("bz bearbz abz bz1 bz_ bz\u0301 bzⒶ -bz-") == ["bz", "bear", "bz"]
    assert parts("a \t XX\n XX  b XX") == [" \t XX\n ", "XX  ", " XX"]
    assert tokenizer.add_tokens(["new", END.content + "!"]) == 296
    assert parts("a newbear") == ["new", "bear"]
    assert tokenizer.decode([290, 294], skip_special_tokens=True) == "new"
    with pytest.raises(TokenizerError, match="'new' is given twice"):
        tokenizer.add_tokens(["new"])


def test_a_special_token_that_is_not_recognised_is_text():
    model = WordLevel({"?": 0, "a": 1, "b": 2}, "?")
    tokenizer = Tokenizer(model, added_tokens=[AddedToken("a", single_word=True, special=True), "b"])
    for text, ids in ("a", [1]), ("ab", [0, 2]), ("ba", [2, 0]), ("b", [2]):
        assert tokenizer.encode(text, ["a"]) == ids == tokenizer.encode_with_offsets(text, "all").ids
    shouted = Tokenizer(model, Lower(), added_tokens=[AddedToken("a", special=True)])
    assert shouted.encode("a", "all") == [1] and shouted.encode("A", "all") == [0]


def test_ids_of_added_tokens():
    tokenizer = Tokenizer(MODEL, added_tokens={AddedToken("<a>", special=True): 300, "b": 65, "<c>": 290})
    assert tokenizer.vocab_size == 301 and tokenizer.special_tokens == {"<a>": 300}
    assert tokenizer.id_of("<c>") == 290 and tokenizer.id_of(b"to") == MODEL.tokens.index(b"to")
    with pytest.raises(TokenizerError, match=r"ids\[1\] is 295"):
        tokenizer.decode([290, 295])
    for bad, message in [
        ({"x": 5}, r"'x' has id 5, which is the id of b'&'"),
        ({"x": 1 << 40}, "far from the 290 others"),
        ({"x": 290, "y": 290}, "'y' has id 290, which is the id of b'x'"),
        (["x", "x"], "'x' is given twice"),
        ([""], "name of an added token is empty"),
        ([AddedToken("be", special=True)], "makes the special token b'be'"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            Tokenizer(MODEL, added_tokens=bad)


def test_normalized_added_tokens():
    tokenizer = made(AddedToken("ONE", normalized=True), AddedToken("TWO", normalized=False), normalizer=Lower())
    encoding = tokenizer.encode_with_offsets("é One one TWO two")
    found = [("é One one TWO two"[a:b], i) for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)]
    assert [pair for pair in found if pair[1] >= 290] == [("One", 290), ("one", 290), ("TWO", 291)]


NAMES = st.lists(st.text("ab <", min_size=1, max_size=8), min_size=1, max_size=8, unique=True)


@fixed
@given(st.data(), NAMES, st.integers(0, 1), st.integers(0, 8))
def test_the_longest_name_is_found_from_left_to_right(data, names, tried, block):
    text = "".join(data.draw(st.lists(st.sampled_from([*names, *"ab <"]), max_size=30)))
    pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    finder = Finder((name, AddedToken(name), i) for i, name in enumerate(names))
    with mock.patch.multiple(searching, TRIED=tried, BLOCK=block):  # read backwards sooner, and less at a time
        few = list(finder.cut(text))
    parts = list(finder.cut(text))
    assert few == parts
    assert "".join(text[a:b] for a, b, _ in parts) == text
    assert [(a, b, i) for a, b, i in parts if i is not None] == [
        (*m.span(), names.index(m.group())) for m in pattern.finditer(text)
    ]


@fixed
@given(st.data(), st.integers(0, 1), st.integers(0, 8))
def test_flags_of_names_where_the_text_is_read_backwards(data, tried, block):
    flags = st.booleans()
    token = st.builds(AddedToken, st.text("ab ", min_size=1, max_size=4), flags, flags, flags)
    tokens = data.draw(st.lists(token, max_size=6, unique_by=lambda one: one.content))
    text = "".join(data.draw(st.lists(st.sampled_from([*(one.content for one in tokens), *"ab -"]), max_size=20)))
    finder = Finder((one.content, one, i) for i, one in enumerate(tokens))
    with mock.patch.multiple(searching, TRIED=tried, BLOCK=block):
        few = list(finder.cut(text))
    assert few == list(finder.cut(text))


@pytest.mark.parametrize("names", [["a" * 2000 + "b"], ["a", "a" * 2000 + "b"], ["a" * n + "b" for n in range(300)]])
def test_a_long_name_that_nearly_fits_everywhere_stalls_nothing(names):
    """With time that grows as text times name, these would take minutes."""
    tokenizer = made(*names)
    for text in "a" * 200_000, ("a" * 1999 + "-") * 100, names[-1] * 50 + "a" * 100_000:
        encoding = tokenizer.encode_with_offsets(text) if len(names) == 1 else None
        ids = tokenizer.encode(text)
        assert encoding is None or encoding.ids == ids
        assert tokenizer.decode(ids) == text
        assert ids.count(tokenizer.id_of(names[-1])) == text.count(names[-1])


def test_a_name_of_which_normalization_leaves_nothing():
    tokenizer = made("e", normalizer=Replace({"String": "e"}, ""))
    assert tokenizer.decode(tokenizer.encode("see be")) == "s b"


@pytest.mark.parametrize(
    ("slot", "stage"),
    [
        (Decoder, decoders.WordPiece(cleanup=True)),
        (
            Decoder,
            decoders.Sequence((decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.CTC())),
        ),
        (PostProcessor, postprocess.TemplateProcessing.of("<s> $A", "<s> $A $B:1", {"<s>": 1})),
        (PostProcessor, postprocess.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)),
    ],
)
def test_stages_come_back_from_json(slot, stage):
    assert from_json(slot, as_json(stage)) == stage


@pytest.mark.parametrize(
    ("slot", "value", "message"),
    [
        (Decoder, [], "$.x is []; it must be an object"),
        (Decoder, {}, "$.x.type is null; it must be the name of a Decoder"),
        (Decoder, {"type": "Nothing"}, "$.x.type is 'Nothing'; tinyllm has no Decoder of that type"),
        (Decoder, {"type": "Chain"}, "$.x.type is 'Chain'; tinyllm has no Decoder"),
        (Decoder, {"type": "Strip", "content": 5}, "$.x.content is 5; it must be a string"),
        (Decoder, {"type": "Strip", "start": True}, "$.x.start is true; it must be an integer"),
        (Decoder, {"type": "Strip", "start": -1}, "$.x: Strip takes one character and two counts"),
        (Decoder, {"type": "Strip", "stop_": 1}, "$.x.stop_ is a field that tinyllm doesn't know"),
        (Decoder, {"type": "Replace", "content": ""}, "$.x.pattern is missing"),
        (Decoder, {"type": "Sequence", "decoders": [{"type": "Fuse"}, 1]}, "$.x.decoders[1] is 1; it must be an obj"),
        (PostProcessor, {"type": "BertProcessing", "sep": ["a", 1], "cls": ["a"]}, "$.x.cls is ['a']; it must be a li"),
        (PostProcessor, {"type": "BertProcessing", "sep": ["a", "b"], "cls": 1}, "$.x.sep[1] is 'b'; it must be an in"),
    ],
)
def test_errors_name_the_place(slot, value, message):
    with pytest.raises(TokenizerError) as caught:
        from_json(slot, value, "$.x")
    assert message in str(caught.value)


TOKENS = [
    b"##a",
    b" .",
    b"  ",
    "▁".encode(),
    "▁a▁".encode(),
    b"<0x41>",
    b"<0xC3>",
    b"<0xA9>",
    b"b</w>",
    b"|b",
    b"<pad>",
]
DECODERS = [
    decoders.WordPiece(),
    decoders.WordPiece(cleanup=True),
    decoders.Metaspace(),
    decoders.Metaspace(prepend_scheme="never"),
    decoders.ByteLevel(),
    decoders.Sequence((decoders.ByteFallback(), decoders.Strip(" ", 1, 1), decoders.BPEDecoder())),
    decoders.Sequence(
        (decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 2, 2))
    ),
    decoders.CTC(),
    decoders.Sequence((decoders.Replace("▁", " "), decoders.ByteFallback())),
    decoders.Sequence((decoders.ByteFallback(), decoders.Replace("A", "▁"), decoders.Fuse(), decoders.Metaspace())),
    decoders.Sequence((decoders.Metaspace(), decoders.Fuse(), decoders.WordPiece("  "), decoders.Fuse())),
    *(
        decoders.SentencePieceDecoder(*flags, unk_piece=" .", control_symbols=("|b", "<pad>"))
        for flags in product([False, True], repeat=3)
    ),
    decoders.Sequence((decoders.Replace("a", ""), decoders.WordPiece(cleanup=True), decoders.Fuse())),
    None,
]


@fixed
@given(
    st.sampled_from(DECODERS),
    st.lists(st.one_of(st.integers(256, 266), st.sampled_from([32, 97, 195, 169])), max_size=12),
)
def test_stream_gives_what_decode_gives(decoder, ids):
    tokenizer = Tokenizer(BPE.from_ids([*BYTES, *TOKENS]), decoder=decoder)
    for skip in False, True:
        stream = tokenizer.stream(skip)
        for _ in range(2):  # after finish, as new
            text = "".join(map(stream.push, ids)) + stream.finish()
            assert text == tokenizer.decode(ids, skip)
            with mock.patch.object(decoding, "compiled", lambda: False):
                assert text == tokenizer.decode(ids, skip)


SPELLED = ["a", "é", "北", "▁", "▁▁", "▁a", "b▁", "##", "##a", " .", "  ", "|b", "<pad>", "</s>", "c</w>"]
SPELLED += [f"<0x{byte:02X}>" for byte in (0x41, 0xC3, 0xA9, *"北▁".encode())]


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@fixed
@given(
    st.sampled_from(DECODERS),
    st.lists(st.integers(0, len(SPELLED) - 1), max_size=12),
    st.booleans(),
)
def test_all_at_once_is_one_after_another(decoder, ids, skip):
    names = [AddedToken("<pad>", special=True), AddedToken("</s>", special=True)]
    tokenizer = Tokenizer(WordLevel({token: i for i, token in enumerate(SPELLED)}), decoder=decoder, added_tokens=names)
    found = tokenizer.decode_bytes(ids, skip)
    with mock.patch.object(decoding, "compiled", lambda: False):
        assert found == tokenizer.decode_bytes(ids, skip)
    head = list(takewhile(lambda flow: not isinstance(flow, Joining), getattr(decoder, "flows", list)()))
    known = all(flow.local for flow in head[:-1]) and all(flow.local or flow.alone() for flow in head[-1:])
    assert bool(tokenizer._decoding._joiner) is known


def test_truncation_padding_and_templates():
    ids = list(range(10, 20))
    parts = [Encoding.of(ids, [(i, i + 1) for i in range(10)]), Encoding.of([1, 2], [(0, 1), (1, 2)])]
    first, second = Truncation(8, stride=1).apply(parts, 2)
    assert (first.ids, second.ids) == ([10, 11, 12, 13], [1, 2])
    assert [window.ids for window in first.overflowing] == [[13, 14, 15, 16], [16, 17, 18, 19]]
    template = postprocess.TemplateProcessing.of("[C] $A", "[C] $A [S] $B:1", {"[C]": 100, "[S]": 101})
    whole = joined(template.process([first, second], [], True))
    assert whole.ids == [100, 10, 11, 12, 13, 101, 1, 2] and whole.type_ids == [0, 0, 0, 0, 0, 0, 1, 1]
    assert whole.sequence_ids == [None, 0, 0, 0, 0, None, 1, 1] and len(whole.overflowing) == 2
    (padded,) = Padding(pad_to_multiple_of=6, pad_id=7, direction="Left").apply([whole])
    assert padded.ids == [7] * 4 + whole.ids[4:] and padded.attention_mask == [0] * 4 + [1] * 8
    assert all(len(window) == 12 for window in padded.overflowing)


IDS = st.lists(st.one_of(st.integers(0, 300), st.integers(255, 296)), max_size=20)


@fixed
@given(IDS, st.booleans())
def test_joining_compiled_is_joining(ids, skip):
    tokenizer = made(END, "a rather long name of a token", AddedToken("<|x|>", special=True))
    bad = next((i for i, token in enumerate(ids) if token >= tokenizer.vocab_size), None)
    if bad is not None:
        with pytest.raises(TokenizerError, match=rf"ids\[{bad}\] is {ids[bad]}; this tokenizer has the ids 0 to 292"):
            tokenizer.decode(ids, skip)
        return
    expected = b"".join(tokenizer.tokens[i] for i in ids if not (skip and i in (290, 292)))
    assert tokenizer.decode_bytes(ids, skip) == tokenizer.decode_bytes(iter(ids), skip) == expected
    with mock.patch.object(decoding, "compiled", lambda: False):
        assert tokenizer.decode_bytes(ids, skip) == expected


def test_bad_ids_raise_at_every_place_and_in_a_batch():
    for decoder in decoders.ByteLevel(), decoders.WordPiece():
        tokenizer = made(END, decoder=decoder)
        for bad in (291, -1, 2**31, 2**64, -(2**70)):
            for place in range(3):
                ids = [5, 5, 5]
                ids[place] = bad
                with pytest.raises(TokenizerError, match=rf"ids\[{place}\] is {bad}; .* 0 to 290"):
                    tokenizer.decode(ids)
            with pytest.raises(TokenizerError, match=r"ids\[0\]"):
                tokenizer.stream().push(bad)
        for bad in 5.0, "5", None:
            with pytest.raises(TypeError):
                tokenizer.decode([5, bad])


def test_sentinels_come_after_the_vocabulary_and_change_no_id():
    tokenizer = made(END)
    before = tokenizer.encode("to be <|end|>", "all")
    names = [f"<extra_id_{i}>" for i in range(500)]
    assert tokenizer.add_tokens(AddedToken(name, special=True) for name in names) == 791
    assert tokenizer.encode("to be <|end|>", "all") == before
    assert tokenizer.encode("".join(names), "all") == list(range(291, 791))
    assert not set(tokenizer.encode("".join(names))) & set(range(290, 791))  # not allowed: text like any other
    assert tokenizer.encode("<extra_id_1><extra_id_10", ["<extra_id_1>"])[0] == 292
    assert all(tokenizer.id_of(token) == i for i, token in enumerate(tokenizer.tokens))
    with pytest.raises(TokenizerError, match="given twice"):
        tokenizer.add_tokens(["first", "first"])
    assert tokenizer.vocab_size == 791 and tokenizer.id_of("first") is None  # all or nothing


@dataclass(frozen=True)
class Opening(PreTokenizer):
    """Marks the beginning of the input."""

    @property
    def heeds_first(self) -> bool:
        return True

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return [text.edited([(0, 0, "^")]) if first else text]


def test_what_follows_an_added_token_is_not_the_beginning():
    tokenizer = made(END, pre_tokenizer=Opening(), normalizer=Lower())
    for ids in tokenizer.encode("be<|end|>be", "all"), tokenizer.encode_with_offsets("be<|end|>be", "all").ids:
        assert tokenizer.decode(ids) == "^be<|end|>be"
    assert tokenizer.decode(tokenizer.encode("<|end|>be", "all")) == "<|end|>be"


def test_the_fingerprint_is_of_all_that_ids_and_text_depend_on():
    others = [
        made(),
        made(END),
        made("<|end|>"),
        made(END, pre_tokenizer=None),
        made(END, normalizer=Lower()),
        made(END, decoder=decoders.Fuse()),
        made(END, post_processor=postprocess.ByteLevel()),
        Tokenizer(BPE.from_ids(MODEL.tokens, TRAINED.merges[:-1]), None, Words(), None, decoders.ByteLevel(), [END]),
    ]
    assert len({tokenizer.fingerprint() for tokenizer in others}) == len(others)


def test_windows_from_the_left_and_of_both_texts():
    one, two = (Encoding.of(list(ids), [(i, i + 1) for i in ids]) for ids in (range(7), range(10, 15)))
    first = one.truncated(3, stride=1, direction="Left")
    assert (first.ids, [window.ids for window in first.overflowing]) == ([4, 5, 6], [[2, 3, 4], [0, 1, 2]])
    whole = joined([one.truncated(4), two.truncated(3)])
    assert whole.ids == [0, 1, 2, 3, 10, 11, 12]
    windows = [[4, 5, 6, 10, 11, 12], [4, 5, 6, 13, 14], [0, 1, 2, 3, 13, 14]]
    assert [window.ids for window in whole.overflowing] == windows
    for limit, stride, strategy, message in [
        (1, 0, "LongestFirst", "max_length is 1; the template alone adds 2|less than the 2 tokens"),
        (4, 2, "OnlyFirst", "stride must be less than max_length|are too many"),
        (9, 0, "OnlyFirst", "5 tokens are too many for max_length 9, and the text to cut .OnlyFirst. has 5"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            Truncation(limit, strategy, stride).apply([two, one], 2)
    with pytest.raises(TokenizerError, match="there is no second text"):
        Truncation(3, "OnlySecond").apply([one], 0)


@pytest.mark.parametrize("single, pair", [("[C] $A", "[C] $A $B:1"), ("$A:2 [C]:1", "$B $A:3 [C]:2")])
def test_windows_have_the_types_of_the_text_that_they_are_cut_from(single, pair):
    template = postprocess.TemplateProcessing.of(single, pair, {"[C]": 7})
    for i, texts in enumerate((("abcdef",), ("abcdef", "ghijk"))):
        types = {None if one.kind == "SpecialToken" else "AB".index(one.id): one.type_id
                 for one in (template.single, template.pair)[i]}  # fmt: skip
        whole = made(post_processor=template, truncation=Truncation(5, stride=1)).prepare(*texts)
        assert whole.overflowing
        for one in (whole, *whole.overflowing):
            assert one.type_ids == [types[sequence] for sequence in one.sequence_ids]


def test_offsets_without_spaces_and_decoders_by_hand():
    tokenizer = made(END, post_processor=postprocess.ByteLevel(add_prefix_space=False))
    text = " to be"
    assert [text[a:b] for a, b in tokenizer.prepare(text).offsets if a < b] == ["to", "be"]
    prefixed = made(END, post_processor=postprocess.RobertaProcessing(("</s>", 0), ("<s>", 0)), pre_tokenizer=None)
    space = tokenizer.tokens[tokenizer.encode(" be")[0]]
    assert space.startswith(b" ") and len(space) > 1
    assert (
        prefixed.prepare(" be").offsets[1][0] == 0 and tokenizer.prepare(" be").offsets[0][0] == 1
    )  # it may be a prefix
    two = Encoding.of([0, 1, 1], [(0, 1), (0, 2), (2, 4)])  # what is at 0 may have the prefix's space, first or not
    postprocess.trim_offsets(two, [b"x", b" y"], True)
    assert two.offsets == [(0, 1), (0, 2), (3, 4)]
    runs = Tokenizer(WordLevel({"<0xC3>": 0, "<0xA9>": 1, "a": 2}), decoder=decoders.ByteFallback())
    assert runs.decode([0, 1, 2, 0, 1, 0, 2, 0]) == "éa\ufffd\ufffd\ufffda\ufffd"
    plain = Tokenizer(BPE.from_ids([*BYTES, b" a ", b"  b"]), decoder=decoders.Strip(" ", 1, 1))
    assert plain.decode([256, 256, 257]) == "aa b"
    assert plain.tokens[256] == b" a "


def test_added_tokens_are_found_where_the_whole_pipeline_is_compiled():
    tokenizer = made(END, "bear", pre_tokenizer=None)
    assert tokenizer._ways.compiled is not None or not compiled()
    assert tokenizer.encode("a bear")[-1] == 291 == tokenizer.encode_with_offsets("a bear").ids[-1]
