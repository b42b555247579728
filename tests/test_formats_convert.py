"""From one format to another: the same ids, or a note, or a refusal; and a report of what differs."""

from __future__ import annotations

import random

import pytest

from tinyllm import cli
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import (
    AddedToken,
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    Truncation,
    decoders,
    load,
    models,
)
from tinyllm.tokenizers.formats import recognised, sentencepiece, tiktoken
from tinyllm.tokenizers.formats.convert import compare, convert
from tinyllm.tokenizers.formats.sentencepiece import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, ModelProto, Piece
from tinyllm.tokenizers.normalizers import BertNormalizer, Lowercase
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer, ByteLevel, Metaspace, Split, Whitespace

TEXT = "to be or not to be, that is the question: naïve café 北京 'tis we'll 1984\n\t" * 3
GPT = BPETokenizer.train(TEXT, 300, ["<|endoftext|>"], engine="python")
FIRST = [Piece("<unk>", 0.0, UNKNOWN), Piece("<s>", 0.0, CONTROL), Piece("</s>", 0.0, CONTROL)]
BYTES = [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
WORDS = ["▁t", "▁b", "he", "▁to", "▁be", "▁the", "not", "or", "▁not", "th"]
LETTERS = [Piece(c, -100.0 - i) for i, c in enumerate("▁tobenrhaisqu")]
LLAMA = ModelProto(
    [*FIRST, *BYTES, *(Piece(word, -float(i)) for i, word in enumerate(WORDS)), Piece("no", -20.0), *LETTERS],
    BPE, byte_fallback=True, remove_extra_whitespaces=False,
)  # fmt: skip
BERT = models.WordPiece({word: i for i, word in enumerate("[PAD] [UNK] [CLS] [SEP] to To be é e ##n".split())})
UNIGRAM = ModelProto([*FIRST, *(Piece(word, -5.0 - 0.37 * i) for i, word in enumerate(WORDS)), *(
    Piece(c, -9.0 - 0.11 * i) for i, c in enumerate("▁tobenrhaisqu"))])  # fmt: skip
TEXTS = ["", " ", "to be", "  to  be\n", "not the 北京 othere", TEXT, "<s>to</s>", "tobenot" * 5]


def spm(proto: ModelProto) -> Tokenizer:
    return sentencepiece.read(sentencepiece.write_proto(proto), engine="python")


def test_what_a_file_is_is_told_by_its_content(tmp_path):
    convert(GPT, tmp_path / "vocab.json")
    convert(GPT, tmp_path / "a.tiktoken")
    convert(GPT, tmp_path / "a.json")
    convert(spm(LLAMA), tmp_path / "a.model")
    for name, kind in {
        "vocab.json": "json", "merges.txt": "merges.txt", "a.tiktoken": "tiktoken", "a.json": "json", "a.model": "model"
    }.items():  # fmt: skip
        data = (tmp_path / name).read_bytes()
        assert recognised(data) == kind
    for name in "a.json", "vocab.json", "merges.txt":
        assert load(tmp_path / name).encode(TEXT) == GPT.encode(TEXT)
        assert load(tmp_path / name).special_tokens == GPT.special_tokens
    assert recognised(b"[PAD]\n[UNK]\n") == recognised(b"{\n[UNK]\n") == "vocab.txt"
    (tmp_path / "words").write_bytes(b"[PAD]\n[UNK]\nto\nbe\n##o\n")
    assert load(tmp_path / "words").encode("To be [PAD]") == [2, 3, 1, 1, 1]
    (tmp_path / "others").write_bytes(b"<unk>\nto\n")
    assert load(tmp_path / "others", unk_token="<unk>").encode("to be") == [1, 0]
    with pytest.raises(TokenizerError, match="no line is '.UNK.', the unknown token; give its name as unk_token"):
        load(tmp_path / "others")
    with pytest.raises(TokenizerError, match="pattern was given, but a file of the format vocab.txt"):
        load(tmp_path / "words", pattern="gpt2")
    (tmp_path / "renamed").write_bytes((tmp_path / "a.model").read_bytes())
    assert load(tmp_path / "renamed").encode("to be") == spm(LLAMA).encode("to be")
    with pytest.raises(TokenizerError, match="give pattern"):
        load(tmp_path / "a.tiktoken")
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(TokenizerError, match=r"vocab.json: this is one of two files, vocab.json; merges.txt must"):
        load(tmp_path / "vocab.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "x.tiktoken"])
def test_byte_level_tokenizers_go_everywhere(name, tmp_path):
    other, _, _ = convert(GPT, tmp_path / name)
    found = compare(GPT, other, TEXT)
    assert found.differences == [] and found.same_text and found.tokens[0] == found.tokens[1] > 0
    again, _, _ = convert(other, tmp_path / "again.json")
    assert again.encode(TEXT + "<|endoftext|>", "all") == GPT.encode(TEXT + "<|endoftext|>", "all")


def test_merges_are_recovered_from_ranks():
    """Only those that are ever made: abc is made of ab and c, never of a and bc; xyz by no merge, as a whole piece."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {b"ab": 256, b"bc": 257, b"abc": 258, b"xyz": 259}
    found = tiktoken.read(tiktoken.write_ranks(ranks.items()), "gpt2", engine="python")
    assert list(found.model.merges) == [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]
    assert found.encode("abc") == [258] and found.encode("xyz") == [259] and found.encode("xyzx") == [*b"xyzx"]
    assert tiktoken.write(found) == tiktoken.write_ranks(ranks.items())
    for line in b"YWI= 300\n", b"eHg= 258\n":
        with pytest.raises(TokenizerError, match="line 261: the token .* or the rank .* has been there before"):
            tiktoken.read(tiktoken.write(found) + line, "gpt2")


def test_llamas_model_as_hugging_faces_stages_and_back(tmp_path):
    one = spm(LLAMA)
    other, _, notes = convert(one, tmp_path / "tokenizer.json")
    assert [note for note in notes if "unknown piece" in note]
    back, _, _ = convert(other, tmp_path / "tokenizer.model")
    rng = random.Random(1)
    for text in [*TEXTS, *("".join(rng.choices("tobenrh ▁the北\n", k=12)) for _ in range(500))]:
        assert other.encode(text) == one.encode(text) == back.encode(text), text
        assert other.decode(one.encode(text)) == one.decode(one.encode(text)) == back.decode(one.encode(text))
        assert compare(one, other, text).differences == []


def test_a_unigram_model_there_and_back(tmp_path):
    one = spm(UNIGRAM)
    other, _, notes = convert(one, tmp_path / "tokenizer.json")
    assert [note for note in notes if "float64" in note]
    for text in TEXTS[:3] + ["  to  be", *TEXTS[4:5]]:
        assert other.encode(text) == one.encode(text), text
    assert compare(one, other, "to be\n").differences == [(5, 6, [0], [])]  # what the note on white space says
    back, _, notes = convert(other, tmp_path / "back.model")
    assert [note for note in notes if "only spaces are removed" in note]
    for text in [*TEXTS, " to\n", "\tto  be "]:
        assert back.encode(text) == one.encode(text), text
        assert back.decode(one.encode(text)) == one.decode(one.encode(text)), text


def bert(**options: bool) -> Tokenizer:
    names = [AddedToken("[UNK]", special=True)]
    return Tokenizer(BERT, BertNormalizer(**options), BertPreTokenizer(), None, decoders.WordPiece(), names)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_of_bert_is_read_as_it_was_written(lowercase, tmp_path):
    one = bert(lowercase=lowercase, strip_accents=lowercase)
    one.truncation = Truncation(5)
    other, names, notes = convert(one, tmp_path / "bert-vocab.txt")
    assert names == [str(tmp_path / "bert-vocab.txt")]
    assert (
        other.encode("To bé [UNK]") == one.encode("To bé [UNK]") == ([4, 6, 1, 1, 1] if lowercase else [5, 1, 1, 1, 1])
    )
    assert f"lowercase={lowercase}" in notes[0] and "the file has no truncation" in notes[1:]


def test_spaces_before_a_text_are_noted(tmp_path):
    for scheme in "always", "first", "never":
        one = Tokenizer(
            models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -2.0)], 0), None, Metaspace(prepend_scheme=scheme)
        )
        other, _, notes = convert(one, tmp_path / "x.model")
        assert other.encode("a a") == one.encode("a a")
        assert (other.encode(" a") != one.encode(" a")) is any("begins with a space" in note for note in notes)


def test_what_a_file_does_not_say_is_noted(tmp_path):
    mask = AddedToken("<mask>", lstrip=True, special=True)
    names = {AddedToken("<|endoftext|>", special=True): 0, mask: 300}
    one = Tokenizer(GPT.model, None, GPT.pre_tokenizer, None, GPT.decoder, names)
    other, _, notes = convert(one, tmp_path / "vocab.json")
    assert one.encode("to <mask>", "all") != other.encode("to <mask>", "all") and "'<mask>'" in notes[-1]
    assert convert(one, tmp_path / "tokenizer.json")[2] == []


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    """A vocabulary whose id 0 is none, as GPT's own is without its special token."""
    one = Tokenizer(GPT.model, None, GPT.pre_tokenizer, None, GPT.decoder)
    for write in one.save, lambda path: convert(one, path):
        with pytest.raises(TokenizerError, match="no token has id 0; tokenizer.json leaves out ids before special"):
            write(tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


def test_the_report_shows_the_first_differences(tmp_path):
    one = spm(LLAMA)
    pieces = [piece for piece in LLAMA.pieces if piece.text != "▁not"] + [Piece("▁not", -8.0)]
    other = spm(ModelProto(pieces, BPE, byte_fallback=True, remove_extra_whitespaces=False))
    found = compare(one, other, "to not be not")
    assert len(found.differences) == 3 and not found.same_text or found.differences
    start, end, ids, others = found.differences[0]
    assert ids != others and "to not be not"[start:end]
    lines = found.report(1).splitlines()
    assert lines[0].startswith("13 characters: ") and f"{len(found.differences)} spans differ" in lines[0]
    assert str(ids) in lines[2] and str(others) in lines[3]


def test_differences_are_spans_between_common_borders():
    ab = Tokenizer(models.BPE.from_ids([*(bytes([b]) for b in range(256)), b"ab", b"cd"], [(97, 98), (99, 100)]))
    bc = Tokenizer(models.BPE.from_ids([*(bytes([b]) for b in range(256)), b"bc", b"cd"], [(98, 99), (99, 100)]))
    found = compare(ab, bc, "xabcd.cd.abc")
    assert found.differences == [(1, 5, [256, 257], [97, 256, 100]), (9, 12, [256, 99], [97, 256])]


@pytest.mark.parametrize(
    ("tokenizer", "name", "message"),
    [
        (spm(UNIGRAM), "vocab.json", "hold a BPE of bytes without a normalizer, and this is none"),
        (spm(UNIGRAM), "x.tiktoken", "holds a BPE of bytes"),
        (spm(LLAMA), "vocab.txt", "vocab.txt holds a WordPiece, and this is a SentencePieceBPE"),
        (GPT, "x.model", "the stages of this tokenizer do more"),
        (CharTokenizer.train(TEXT), "x.model", "the stages of this tokenizer do more"),
        (Tokenizer(GPT.model, Lowercase(), GPT.pre_tokenizer, None, GPT.decoder), "vocab.json", "without a normalizer"),
        (Tokenizer(GPT.model, None, None, None, decoders.ByteLevel()), "vocab.json", "mean GPT-2's pattern"),
        (GPT, "tokenizer.bin", "which format"),
        (GPT, "text.txt", "which format"),
        (Tokenizer(GPT.model, None, ByteLevel(), None, GPT.decoder), "x.tiktoken", "cuts text in another way"),
        (
            Tokenizer(GPT.model, None, Split("o", "Isolated"), None, GPT.decoder),
            "x.tiktoken",
            "cuts text in another way",
        ),
        (Tokenizer(GPT.model, None, None, None, GPT.decoder), "x.tiktoken", "cuts text in another way"),
        *(
            (
                Tokenizer(GPT.model, None, GPT.pre_tokenizer, None, GPT.decoder, ["to be"]),
                name,
                "added tokens that are not",
            )
            for name in ("x.tiktoken", "vocab.json")
        ),
        (Tokenizer(BERT, Lowercase(), BertPreTokenizer()), "vocab.txt", "means BERT's normalizer and pre-tokenizer"),
        (Tokenizer(BERT, BertNormalizer(clean_text=False), BertPreTokenizer()), "vocab.txt", "means BERT's normalizer"),
        (Tokenizer(BERT, BertNormalizer(strip_accents=False), BertPreTokenizer()), "vocab.txt", "means BERT's"),
        (Tokenizer(BERT, BertNormalizer(), Whitespace()), "vocab.txt", "means BERT's normalizer and pre-tokenizer"),
        (Tokenizer(BERT, BertNormalizer(), BertPreTokenizer(), None, None, ["to"]), "vocab.txt", "but special ones"),
        (
            spm(ModelProto([*LLAMA.pieces, Piece("<x>", 0.0, 4)], BPE, byte_fallback=True)),
            "x.json",
            "no user-defined pieces like '<x>'",
        ),
        (
            Tokenizer(GPT.model, None, GPT.pre_tokenizer, None, GPT.decoder, [AddedToken("<a>", special=True)]),
            "x.tiktoken",
            None,
        ),
    ],
)
def test_what_is_not_possible_is_refused(tokenizer, name, message, tmp_path):
    if message is None:
        convert(tokenizer, tmp_path / name)
        return
    with pytest.raises(TokenizerError, match=message):
        convert(tokenizer, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    GPT.save(tmp_path / "a.json")
    (tmp_path / "text").write_text(TEXT)
    assert cli.main(["tokenizer", "convert", str(tmp_path / "a.json"), str(tmp_path / "vocab.json"), "--text",
                     str(tmp_path / "text")]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "merges.txt: 300 tokens" in out and "0 spans differ" in out
    assert cli.main(["tokenizer", "convert", str(tmp_path / "a.json"), str(tmp_path / "x.model")]) == 1
    assert "tokenizer convert: a .model only makes spaces" in capsys.readouterr().err


def test_only_normal_pieces_are_found_in_text():
    assert NORMAL == 1
    one = spm(LLAMA)
    assert 1 not in one.encode("<s>") and one.encode("<s>", ["<s>"]) == [1]
    assert one.decode([1, *one.encode("to be"), 2]) == "to be"
