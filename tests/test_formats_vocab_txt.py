"""vocab.txt: read, written, and refused with the number of the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.formats import vocab_txt


def test_ids_are_the_numbers_of_the_lines(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_bytes("[PAD]\n[UNK]\né\n##漢".encode())
    vocab = vocab_txt.read(file)
    assert vocab == {"[PAD]": 0, "[UNK]": 1, "é": 2, "##漢": 3}
    vocab_txt.write(vocab, file)
    assert file.read_bytes() == "[PAD]\n[UNK]\né\n##漢\n".encode()
    file.write_bytes(b"[UNK]\r\na\r\n")
    assert vocab_txt.read(file) == {"[UNK]": 0, "a": 1}
    assert vocab_txt.parse(b"<unk>\n", "<unk>") == {"<unk>": 0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf[UNK]\n", "line 1 begins with a byte order mark"),
        (b"[UNK]\na\nb\na\n", "line 4 is 'a', as is line 2"),
        (b"a\nb\n", "no line is '\\[UNK\\]'"),
        (b"", "no line is '\\[UNK\\]'"),
        (b"[UNK]\n\na\n", "line 2: the token has 0 bytes"),
        (b"[UNK]\r\na\n", "line 2 ends in another way"),
        (b"[UNK]\na\r\n", "line 2 ends in another way"),
        (b"[UNK]\na\rb\n", "line 2 is 'a\\\\rb'"),
        (b"[UNK]\na \n", "line 2 is 'a ', a token that has white space"),
        ("[UNK]\na\u3000\n".encode(), "line 2 is 'a\\\\u3000'|line 2 is 'a\u3000'"),
        (b"[UNK]\n\xff\n", "line 2 is no UTF-8"),
        (b"[UNK]\n\xed\xa0\x80\n", "line 2 is no UTF-8"),
        (b"[UNK]\n" + b"a" * 4097 + b"\n", "line 2: the token has 4097 bytes"),
    ],
)
def test_files_that_are_none(data, message, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(data)
    with pytest.raises(TokenizerError, match=message):
        vocab_txt.read(tmp_path / "vocab.txt")


def test_too_many_tokens(monkeypatch):
    monkeypatch.setattr(vocab_txt.files, "MAX_VOCAB", 2)
    assert len(vocab_txt.parse(b"[UNK]\na\n")) == 2
    with pytest.raises(TokenizerError, match="line 3: a vocabulary has at most 2"):
        vocab_txt.parse(b"[UNK]\na\nb\n")


@pytest.mark.parametrize("vocab", [{"[UNK]": 0, "a": 2}, {"[UNK]": 0, "a\n": 1}, {"[UNK]": 0, "a ": 1}, {"a": 0}])
def test_what_would_not_come_back_is_not_written(vocab, tmp_path):
    with pytest.raises(TokenizerError):
        vocab_txt.write(vocab, tmp_path / "vocab.txt")
    assert not list(tmp_path.iterdir())


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=6))
def test_vocabularies_come_back_or_are_refused(tmp_path_factory, tokens):
    file = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocab = {token: i for i, token in enumerate(dict.fromkeys(["[UNK]", *tokens]))}
    try:
        vocab_txt.write(vocab, file)
    except TokenizerError:
        return
    assert vocab_txt.read(file) == vocab
