"""tokenizer.json: what is saved comes back with the same ids, and no file does worse than raise TokenizerError."""

from __future__ import annotations

import copy
import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import BPETokenizer, CharTokenizer, compiled, formats, load
from tinyllm.tokenizers.formats import tokenizer_json

ENGINE = "c" if compiled() else "python"
fixed = settings(max_examples=300)

TEXT = "to be or not to be, that is the question: naïve café 北京 'tis we'll 1984\n\t" * 3
BPE = BPETokenizer.train(TEXT, 280, ["<|endoftext|>", "<|ü|>"], engine="python")
CHARS = CharTokenizer.train(TEXT, ["<unk>"], unk="<unk>")
PLAIN_CHARS = CharTokenizer.train(TEXT)
ALL = [BPE, CHARS, PLAIN_CHARS]
DOCUMENTS = [formats.to_json(tokenizer) for tokenizer in ALL]


def parse(document) -> BPETokenizer | CharTokenizer:
    return formats.parse(json.dumps(document).encode(), engine="python")


# ---- Good files ----


@pytest.mark.parametrize("tokenizer", ALL, ids=["bpe", "char with unk", "char"])
def test_what_is_saved_comes_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tok.json")
    for loaded in load(tmp_path / "tok.json", ENGINE), load(str(tmp_path / "tok.json"), engine="python"):
        assert type(loaded) is type(tokenizer)
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
    with pytest.raises(TypeError, match="can't hold a int"):
        formats.to_json(5)
    clash = BPETokenizer(
        [*BPE.tokens, "Ġ".encode()], BPE.merges, {**BPE.special_tokens, "Ġ": len(BPE.tokens)}, engine="python"
    )
    with pytest.raises(TokenizerError, match="look the same in tokenizer.json"):
        formats.to_json(clash)


def test_the_layouts_of_other_versions_are_read():
    """GPT-2's own file: merges as "a b", empty affixes, a post-processor. Older ones: special tokens apart."""
    document = copy.deepcopy(DOCUMENTS[0])
    model = document["model"]
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    model |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "dropout": 0.0}
    del model["ignore_merges"], model["byte_fallback"], document["pre_tokenizer"]["use_regex"]
    document["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    document["decoder"] = None
    assert parse(document).fingerprint() == BPE.fingerprint()
    for entry in document["added_tokens"]:
        del model["vocab"][entry["content"]]
    assert parse(document).fingerprint() == BPE.fingerprint()


def test_what_is_handed_out_is_a_copy():
    formats.to_json(BPE)["decoder"]["type"] = "other"
    formats.to_json(CHARS)["pre_tokenizer"]["pattern"]["Regex"] = "other"
    assert [formats.to_json(tokenizer) for tokenizer in ALL] == DOCUMENTS


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
    ("truncation", {"max_length": 5}, "$.truncation is {'max_length': 5}; tinyllm can reproduce null only"),
    ("padding", {}, "$.padding is {}"),
    ("normalizer", {"type": "NFC"}, "$.normalizer is {'type': 'NFC'}"),
    ("surprise", 1, "$.surprise is a field that tinyllm doesn't know"),
    ("pre_tokenizer", None, "$.pre_tokenizer is null; it must be an object"),
    ("pre_tokenizer.type", "Metaspace", "$.pre_tokenizer.type is 'Metaspace'"),
    ("pre_tokenizer.type", DELETED, "$.pre_tokenizer.type is missing"),
    ("pre_tokenizer.add_prefix_space", True, "$.pre_tokenizer.add_prefix_space is true"),
    ("pre_tokenizer.add_prefix_space", 0, "$.pre_tokenizer.add_prefix_space is 0"),
    ("pre_tokenizer.use_regex", False, "$.pre_tokenizer.use_regex is false"),
    ("decoder.type", "WordPiece", "$.decoder.type is 'WordPiece'"),
    ("post_processor", {"type": "TemplateProcessing"}, "$.post_processor.type is 'TemplateProcessing'"),
    ("model", [], "$.model is []; it must be an object"),
    ("model", DELETED, "$.model is missing"),
    ("model.type", "Unigram", "$.model.type is 'Unigram'; tinyllm reads 'BPE' (byte-level) and 'WordLevel'"),
    ("model.type", 5, "$.model.type is 5; it must be a string"),
    ("model.dropout", 0.1, "$.model.dropout is 0.1"),
    ("model.unk_token", "<unk>", "$.model.unk_token is '<unk>'"),
    (
        "model.end_of_word_suffix",
        "</w>",
        "$.model.end_of_word_suffix is '</w>'; tinyllm can reproduce null or \"\" only",
    ),
    ("model.byte_fallback", True, "$.model.byte_fallback is true"),
    ("model.ignore_merges", True, "$.model.ignore_merges is true"),
    ("model.vocab", None, "$.model.vocab is null"),
    ("model.vocab.a", DELETED, "$.model.vocab: 279 tokens but none with id"),
    ("model.vocab.a", 1.5, "$.model.vocab['a'] is 1.5; an id is an integer from 0"),
    ("model.vocab.a", True, "$.model.vocab['a'] is true"),
    ("model.vocab.a", -1, "$.model.vocab['a'] is -1"),
    ("model.vocab.a", 2**31, "$.model.vocab['a'] is 2147483648"),
    ("model.vocab.a", 3, "$.model.vocab['a']: id 3 is also the id of '"),
    ("model.vocab.new", 5000, "$.model.vocab: 281 tokens but none with id 280"),
    ("model.vocab.日", 280, "$.model.vocab['日']: '日' stands for no byte"),
    ("model.vocab." + "x" * 5000, 280, "the token has 5000 bytes; it must have 1 to 4096"),
    ("model.vocab.\ud800", 280, "$.model.vocab['\\ud800']: the token has a lone surrogate"),
    ("model.merges", {}, "$.model.merges is {}; it must be a list"),
    ("model.merges[3]", ["a"], "$.model.merges[3] is ['a']; it must be a pair of tokens"),
    ("model.merges[3]", "a b c", "$.model.merges[3] is 'a b c'; it must be a pair"),
    ("model.merges[3]", [1, 2], "$.model.merges[3] is [1, 2]; it must be a pair"),
    ("model.merges[3]", ["zzz", "a"], "$.model.merges[3]: 'zzz' is no ordinary token"),
    ("model.merges[3]", ["q", "z"], "$.model.merges[3]: 'qz' is no ordinary token"),
    ("model.merges[3]", ["<|endoftext|>", "a"], "$.model.merges[3]: '<|endoftext|>' is no ordinary token"),
    ("model.merges[3]", DOCUMENTS[0]["model"]["merges"][2], "$.model: merges 2 and 3 are the same"),
    ("added_tokens", 3, "$.added_tokens is 3; it must be a list"),
    ("added_tokens[0]", 3, "$.added_tokens[0] is 3; it must be an object"),
    ("added_tokens[0].special", False, "$.added_tokens[0].special is false"),
    ("added_tokens[0].lstrip", True, "$.added_tokens[0].lstrip is true"),
    ("added_tokens[0].id", 1, "$.added_tokens[0].id: id 1 is also the id of '<|ü|>'"),
    ("added_tokens[0].id", "0", "$.added_tokens[0].id is '0'"),
    ("added_tokens[0].content", 7, "$.added_tokens[0].content is 7; it must be a string"),
    ("added_tokens[0].content", "", "$.added_tokens[0].id: the token has 0 bytes"),
    ("added_tokens[1]", DOCUMENTS[0]["added_tokens"][0], "has two ids or two entries"),
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
        ("pre_tokenizer.pattern", {"Regex": "(a+)+"}, "$.pre_tokenizer.pattern is {'Regex': '(a+)+'}"),
        ("pre_tokenizer", DOCUMENTS[0]["pre_tokenizer"], "$.pre_tokenizer.type is 'ByteLevel'"),
        ("decoder", None, "$.decoder is null"),
        ("post_processor", {}, "$.post_processor is {}"),
        ("model.unk_token", "<no>", "$.model: unk is '<no>', which must be one of the special tokens"),
        ("model.unk_token", DELETED, "$.model.unk_token is missing"),
        ("model.vocab.two", len(CHARS.tokens), "it must be one character or a special token"),
    ]:
        with pytest.raises(TokenizerError) as caught:
            parse(changed(DOCUMENTS[1], path, value))
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"null", "$ is null; it must be an object"),
        (b"\xff\xfe", "byte 0 is no UTF-8"),
        (b'{"version": "1.0", "version": "1.0"}', "the key 'version' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"version": NaN}', "$.version is NaN"),
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
    monkeypatch.setattr(tokenizer_json, "MAX_FILE", 100)
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
    assert parse(formats.to_json(tokenizer)).fingerprint() == tokenizer.fingerprint()
    assert tokenizer.decode(tokenizer.encode("to be")) == "to be"


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
        tokenizer = formats.parse(data)
    except TokenizerError:
        return
    assert tokenizer.vocab_size > 0
