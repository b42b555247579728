"""tokenizer.json: what is saved comes back with the same ids, and no file does worse than raise TokenizerError."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import AddedToken, BPETokenizer, CharTokenizer, Tokenizer, compiled, load
from tinyllm.tokenizers.formats import files, tokenizer_json
from tinyllm.tokenizers.stage import Model

ENGINE = "c" if compiled() else "python"
fixed = settings(max_examples=300)

TEXT = "to be or not to be, that is the question: naïve café 北京 'tis we'll 1984\n\t" * 3
BPE = BPETokenizer.train(TEXT, 280, ["<|endoftext|>", "<|ü|>"], engine="python")
CHARS = CharTokenizer.train(TEXT, ["<unk>"], unk="<unk>")
PLAIN_CHARS = CharTokenizer.train(TEXT)
ALL = [BPE, CHARS, PLAIN_CHARS]
DOCUMENTS = [tokenizer_json.to_document(tokenizer) for tokenizer in ALL]


def parse(document) -> Tokenizer:
    return tokenizer_json.read(json.dumps(document).encode(), engine="python")


class Letters(Model):
    """A kind of model that no layout has."""

    tokens = [b"a"]

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        return [(0, 1)] * len(piece)


# ---- Good files ----


@pytest.mark.parametrize("tokenizer", ALL, ids=["bpe", "char with unk", "char"])
def test_what_is_saved_comes_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tok.json")
    for loaded in load(tmp_path / "tok.json", ENGINE), load(str(tmp_path / "tok.json"), engine="python"):
        assert loaded.fingerprint() == tokenizer.fingerprint()
        assert loaded.special_tokens == tokenizer.special_tokens
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
        assert loaded.decode(loaded.encode(TEXT)) == TEXT
    tokenizer.save(tmp_path)  # a folder: under the usual name
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "tok.json").read_bytes()
    assert load(tmp_path, ENGINE).fingerprint() == tokenizer.fingerprint()


def test_the_fingerprint_tells_tokenizers_apart():
    others = [BPETokenizer(BPE.tokens, BPE.merges[::-1], BPE.special_tokens, engine="python"), CHARS, PLAIN_CHARS, BPE]
    assert len({tokenizer.fingerprint() for tokenizer in others}) == len(others)


def test_saving_is_all_or_nothing(tmp_path):
    path = tmp_path / "tokenizer.json"
    CHARS.save(path)

    def full(call, path):
        if call == "fsync":
            raise OSError(28, "No space left on device", path)

    with _io.inject(full), pytest.raises(OSError, match="No space"):
        BPE.save(path)
    assert load(path).fingerprint() == CHARS.fingerprint()
    assert os.listdir(tmp_path) == ["tokenizer.json"]


def test_only_known_tokenizers_are_written():
    words = Tokenizer(Letters())
    with pytest.raises(TokenizerError, match="tokenizer.json can't hold a Letters"):
        tokenizer_json.to_document(words)
    with pytest.raises(TokenizerError, match="needs the pre-tokenizer ByteLevel"):
        tokenizer_json.to_document(Tokenizer(BPE.model))
    clash = BPETokenizer(
        [*BPE.tokens, "Ġ".encode()], BPE.merges, {**BPE.special_tokens, "Ġ": len(BPE.tokens)}, engine="python"
    )
    with pytest.raises(TokenizerError, match="look the same in tokenizer.json"):
        tokenizer_json.to_document(clash)


def test_the_layouts_of_other_versions_are_read():
    """GPT-2's own file: merges as "a b", empty affixes, a post-processor. Older ones: special tokens apart."""
    document = copy.deepcopy(DOCUMENTS[0])
    model = document["model"]
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    model |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "dropout": 0.0}
    del model["ignore_merges"], model["byte_fallback"], document["pre_tokenizer"]["use_regex"]
    document["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    document["decoder"] = None
    assert parse(document).encode(TEXT) == BPE.encode(TEXT)
    del model["type"], document["truncation"], document["padding"]
    assert parse(document).encode(TEXT) == BPE.encode(TEXT)


def test_added_tokens_stand_where_the_layout_can_say_it():
    """Behind the vocabulary without a gap, or in it; and what is written is read as the same."""
    for ids in [280, 281], [281, 280], [290, 285], [285, 300]:
        names = dict(zip(["<a>", "<b>"], ids, strict=True))
        model = BPETokenizer(BPE.tokens, BPE.merges, BPE.special_tokens, engine="python").model
        added = {**{token: i for i, token in BPE.added_tokens.items()}}
        added |= {AddedToken(name, special=True): i for name, i in names.items()}
        one = Tokenizer(model, None, BPE.pre_tokenizer, None, BPE.decoder, added)
        document = tokenizer_json.to_document(one)
        assert parse(document).fingerprint() == one.fingerprint()
        assert parse(document).encode("x<b><a>", "all")[1:] == [names["<b>"], names["<a>"]]
        assert ("<a>" in document["model"]["vocab"]) == (sorted(ids) != [280, 281])
    plain = Tokenizer(model, None, BPE.pre_tokenizer, None, BPE.decoder, {**added, AddedToken("c"): 400})
    with pytest.raises(TokenizerError, match="added token 'c' has id 400; the layout has no gap before such tokens"):
        tokenizer_json.to_document(plain)


def test_what_is_handed_out_is_a_copy():
    tokenizer_json.to_document(BPE)["decoder"]["type"] = "other"
    tokenizer_json.to_document(CHARS)["pre_tokenizer"]["pattern"]["Regex"] = "other"
    assert [tokenizer_json.to_document(tokenizer) for tokenizer in ALL] == DOCUMENTS


# ---- Bad files ----


def changed(document, path: str, value):
    """A copy of the document with one value replaced, added or (value is DELETED) removed; a path is a.b[0].c"""
    document = copy.deepcopy(document)
    *way, last = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
    place = document
    for part in way:
        place = place[part]
    if value is DELETED:
        del place[last]
    else:
        place[last] = value
    return document


DELETED = type(None)

BAD = [
    ("version", "2.0", "$.version is '2.0'; tinyllm can reproduce \"1.0\" only"),
    ("version", DELETED, "$.version is missing"),
    ("truncation", {"max_length": 5}, "$.truncation.strategy is missing"),
    ("truncation", {"max_length": -5, "strategy": "OnlyFirst", "stride": 0}, "$.truncation.max_length is -5"),
    ("padding", {}, "$.padding.strategy is missing"),
    ("padding", {"strategy": {"Fixed": True}, "direction": "Left"}, "$.padding.strategy.Fixed is true"),
    ("normalizer", {"type": "NFE"}, "$.normalizer.type is 'NFE'; tinyllm has no Normalizer of that type"),
    ("normalizer", {"type": "NFC", "form": 1}, "$.normalizer.form is a field that tinyllm doesn't know"),
    ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}, "$.normalizer: the regular"),
    (
        "normalizer",
        {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lower"}]},
        "$.normalizer.normalizers[1].type is 'Lower'",
    ),
    ("surprise", 1, "$.surprise is a field that tinyllm doesn't know"),
    (
        "pre_tokenizer",
        {"type": "Sequence", "pretokenizers": [DOCUMENTS[0]["pre_tokenizer"], {"type": "Whitespace"}]},
        "$.pre_tokenizer: ByteLevel must come last",
    ),
    ("pre_tokenizer", [], "$.pre_tokenizer is []; it must be an object"),
    ("pre_tokenizer.type", "Metaspace", "$.pre_tokenizer.add_prefix_space is false; then prepend_scheme"),
    ("pre_tokenizer.type", DELETED, "$.pre_tokenizer.type is null; it must be the name of a PreTokenizer"),
    ("pre_tokenizer.add_prefix_space", 0, "$.pre_tokenizer.add_prefix_space is 0; it must be true or false"),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}, "$.pre_tokenizer"),
    ("decoder.type", "WordPiece", "$.decoder.add_prefix_space is a field that tinyllm doesn't know"),
    ("post_processor", {"type": "TemplateProcessing"}, "$.post_processor.single is missing"),
    ("model", [], "$.model is []; it must be an object"),
    ("model", DELETED, "$.model is missing"),
    ("model.type", "Unigram", "$.pre_tokenizer: ByteLevel goes with BPE only in tinyllm, not with Unigram"),
    ("model.type", "Bigram", "$.model.type is 'Bigram'; tinyllm reads BPE, WordPiece, Unigram, WordLevel"),
    ("model.type", 5, "$.model.type is 5; it must be a string"),
    ("model.dropout", 1.1, "$.model: dropout is 1.1"),
    ("model.dropout", "0", "$.model.dropout is '0'; it must be a number"),
    ("model.unk_token", "<unk>", "$.model: unk_token is '<unk>', which is not in the vocabulary"),
    ("model.byte_fallback", True, "$.model: byte_fallback is for vocabularies of characters"),
    ("model.ignore_merges", 1, "$.model.ignore_merges is 1; it must be true or false"),
    ("model.vocab", None, "$.model.vocab is null"),
    ("model.vocab.a", DELETED, "$.model.vocab['b'] is 67, but no token has id 66; ids have no gaps"),
    ("model.vocab.a", 1.5, "$.model.vocab['a'] is 1.5; an id is an integer from 0"),
    ("model.vocab.a", True, "$.model.vocab['a'] is true"),
    ("model.vocab.a", -1, "$.model.vocab['a'] is -1"),
    ("model.vocab.a", 2**31, "$.model.vocab['a'] is 2147483648"),
    ("model.vocab.a", 3, "$.model.vocab['a']: id 3 is also the id of '"),
    ("added_tokens[0].content", "\ud800", "[0]['content']: there is a lone surrogate"),
    ("model.vocab.new", 5000, "$.model.vocab['new'] is 5000, but no token has id 280; ids have no gaps"),
    ("model.vocab.日", 280, "$.model.vocab['日']: '日' stands for no byte"),
    ("model.vocab." + "x" * 5000, 280, "the token has 5000 bytes; it must have 1 to 4096"),
    ("model.vocab.\ud800", 280, "['\\ud800']: there is a lone surrogate"),
    ("model.merges", {}, "$.model.merges is {}; it must be a list"),
    ("model.merges[3]", ["a"], "$.model.merges[3] is ['a']; it must be a pair of tokens"),
    ("model.merges[3]", "a b c", "$.model.merges[3] is 'a b c'; it must be a pair"),
    ("model.merges[3]", [1, 2], "$.model.merges[3] is [1, 2]; it must be a pair"),
    ("model.merges[3]", ["zzz", "a"], "$.model.merges[3]: b'zzz' is no token of $.model.vocab"),
    ("model.merges[3]", ["q", "z"], "$.model.merges[3]: b'qz' is no token"),
    ("model.merges[3]", ["<|endoftext|>", "a"], "$.model.merges[3]: b'<|endoftext|>' is no token"),
    ("model.merges[3]", ["日", "a"], "$.model.merges[3]: '日' is no token"),
    ("model.merges[3]", DOCUMENTS[0]["model"]["merges"][2], "$.model.merges[3] is also $.model.merges[2]"),
    ("added_tokens", 3, "$.added_tokens is 3; it must be a list"),
    ("added_tokens[0]", 3, "$.added_tokens[0] is 3; it must be an object"),
    ("added_tokens[0].special", 0, "$.added_tokens[0].special is 0; it must be true or false"),
    ("added_tokens[0].lstrip", DELETED, "$.added_tokens[0].lstrip is missing"),
    ("added_tokens[0].id", 1, "$.added_tokens[0].id is 1; '<|endoftext|>' must have 0, its id in $.model.vocab"),
    ("added_tokens[0].id", "0", "$.added_tokens[0].id is '0'"),
    ("added_tokens[0].content", "new", "$.added_tokens[0].id is 0; 'new' must have 280, the next one after the vocab"),
    ("added_tokens[0].content", 7, "$.added_tokens[0].content is 7; it must be a string"),
    ("added_tokens[0].content", "", "$.added_tokens[0].content: the token has 0 bytes"),
    ("added_tokens[1]", DOCUMENTS[0]["added_tokens"][0], "$.added_tokens[1].content: '<|endoftext|>' has two entries"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), BAD, ids=[f"{path[:40]}-{i}" for i, (path, _, _) in enumerate(BAD)]
)
def test_errors_name_the_place(path, value, message):
    with pytest.raises(TokenizerError) as caught:
        parse(changed(DOCUMENTS[0], path, value))
    assert message in str(caught.value)


def test_bad_character_files():
    for path, value, message in [
        ("pre_tokenizer.pattern", {"Regex": "(a+)+"}, "$.pre_tokenizer"),
        ("pre_tokenizer.behavior", "Cut", "$.pre_tokenizer.behavior is 'Cut'"),
        ("post_processor", {}, "$.post_processor.type is null"),
        ("model.unk_token", DELETED, "$.model.unk_token is missing"),
        ("model.vocab.two", 1000, "$.model.vocab['two'] is 1000, but no token has id"),
    ]:
        with pytest.raises(TokenizerError) as caught:
            parse(changed(DOCUMENTS[1], path, value))
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON"),
        (b'{"a": 0}', "this is one of two files, vocab.json; merges.txt must lie beside it"),
        (b"{", "no JSON"),
        (b"null", "$ is null; it must be an object"),
        (b"\xff\xfe", "byte 0 is no UTF-8"),
        (b'{"version": "1.0", "version": "1.0"}', "the key 'version' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"version": NaN}', "no JSON: NaN is no number"),
    ],
)
def test_files_that_are_no_tokenizer(data, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(TokenizerError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_other_things_at_the_path(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    with pytest.raises(TokenizerError, match="not a regular file"):
        load(tmp_path / "pipe")
    CHARS.save(tmp_path)
    monkeypatch.setattr(files, "MAX_FILE", 100)
    with pytest.raises(TokenizerError, match="more than 100 bytes"):
        load(tmp_path)


ANY = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 300), st.floats(), st.sampled_from(["a", "Ġ", "BPE", "1.0", ""])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


@fixed
@given(data=st.data(), document=st.sampled_from(DOCUMENTS))
def test_a_changed_file_is_refused_or_means_a_tokenizer(data, document):
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 2))):
        place = document
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 4)) == 0:
                break
            place = place[key]
        if isinstance(place, dict) and data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(ANY)
        if not place:
            break
    try:
        tokenizer = parse(document)
    except TokenizerError as error:
        assert "$" in str(error)
        return
    assert parse(tokenizer_json.to_document(tokenizer)).fingerprint() == tokenizer.fingerprint()
    with contextlib.suppress(TokenizerError):  # a word for which there is no id
        tokenizer.decode(tokenizer.encode("to be"))


@fixed
@given(
    cuts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 20), st.binary(max_size=3)), min_size=1, max_size=3)
)
def test_damaged_bytes_do_no_harm(cuts):
    data = json.dumps(DOCUMENTS[2]).encode()
    for at, length, new in cuts:
        at %= len(data)
        data = data[:at] + new + data[at + length :]
    try:
        tokenizer = tokenizer_json.read(data)
    except TokenizerError:
        return
    assert tokenizer.vocab_size > 0
