"""S7: hostile tokenizer files give a TokenizerError or a tokenizer that works, never anything else, and cost little.

Mutants keep the structure of what they come from, small tokenizers in all five formats: fields of tokenizer.json
changed one at a time by values that have broken other readers, pieces of a .model changed in kind, score and spelling,
lines moved, doubled and damaged, and bytes changed in all of them. What is read must encode and decode. Two processes
with 2 GB of address space. Each may take a second of processor time and 8 MB and 96 times the file's size of memory.
Then the vectors by name, each of which must be refused, and files of as many tokens as fit.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from common import Bar, run_bar
from micro import fast_folder
from s05_fuzz import ADDRESS_SPACE, NUMBERS, ODD, WORKERS, Fuzz, peak, reset_peak

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import AddedToken, BPETokenizer, Tokenizer, decoders, load, models, postprocess, pretokenizers
from tinyllm.tokenizers import normalizers as norm
from tinyllm.tokenizers.encoding import Padding, Truncation
from tinyllm.tokenizers.formats import bert, files, gpt2, sentencepiece, tiktoken, tokenizer_json
from tinyllm.tokenizers.formats.sentencepiece import BPE, BYTE, CONTROL, UNIGRAM, UNKNOWN, UNUSED, ModelProto, Piece
from tinyllm.tokenizers.normalizers.precompiled import table

SECONDS, BYTES, FACTOR = 1.0, 8 << 20, 96
TEXT = "to be, or not to be\n ﬁ 北京 \udcff<s>"
END = AddedToken("<s>", special=True)


def tokenizers() -> dict[str, Tokenizer]:
    """One of each kind of model, with as many kinds of stages as there are."""
    words = ["[UNK]", "[CLS]", "[SEP]", "to", "be", "##e", "b", "t", "##o", "not", "or", ","]
    vocab = {word: i for i, word in enumerate(words)}
    template = postprocess.TemplateProcessing.of("[CLS] $A [SEP]", None, {"[CLS]": 1, "[SEP]": 2})
    letters = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁tobenr", "to", "▁to", "be"]
    ids = {letter: i for i, letter in enumerate(letters)}
    scores = [(piece, -0.5 * i) for i, piece in enumerate(["<unk>", "<s>", *"▁tobenr", "to", "▁to", "be"])]
    return {
        "byte-level BPE": BPETokenizer.train(TEXT.replace("\udcff", "") * 3, 262, ["<s>"]),
        "BPE of characters": Tokenizer(
            models.BPE(ids, [("t", "o"), ("▁", "to"), ("b", "e")], None, "<unk>", fuse_unk=True, byte_fallback=True),
            norm.Sequence((norm.NFC(), norm.Prepend("▁"), norm.Replace({"String": " "}, "▁"))),
            decoder=decoders.Sequence((decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse())),
            added_tokens=[END],
        ),
        "WordPiece": Tokenizer(
            models.WordPiece(vocab), norm.BertNormalizer(), pretokenizers.BertPreTokenizer(), template,
            decoders.WordPiece(), [AddedToken(name, special=True) for name in words[:3]], Truncation(9), Padding(12),
        ),
        "Unigram": Tokenizer(
            models.Unigram(scores, 0), norm.Nmt(), pretokenizers.Metaspace(), decoder=decoders.Metaspace(),
            added_tokens=[END, AddedToken("zz")],
        ),
        "words": Tokenizer(
            models.WordLevel(vocab, "[UNK]"), norm.Lowercase(),
            pretokenizers.Sequence((pretokenizers.Whitespace(), pretokenizers.Punctuation(), pretokenizers.Digits())),
        ),
    }  # fmt: skip


def protos() -> list[ModelProto]:
    """A BPE with byte fallback, and a Unigram with a table of character rules."""
    first = [Piece("<unk>", 0.0, UNKNOWN), Piece("<s>", 0.0, CONTROL)]
    fallback = [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces = [Piece(text, -float(i)) for i, text in enumerate(["to", "▁to", "be", *"▁tobenr"])]
    rules = sentencepiece.ModelProto([*first, *pieces, Piece("no", -9.0, UNUSED), Piece("<x>", 0.0, 4)], UNIGRAM)
    return [ModelProto([*first, *fallback, *pieces], BPE, byte_fallback=True), rules]


class Mutants(Fuzz):
    """Draws mutants from a seed and reads them; what goes wrong is in `problems`."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        kinds = tokenizers()
        self.documents = [json.dumps(tokenizer_json.to_document(tokenizer)) for tokenizer in kinds.values()]
        self.protos = protos()
        self.models = [sentencepiece.write_proto(proto) for proto in self.protos]
        self.vocab, self.merges = gpt2.write(kinds["byte-level BPE"])
        self.ranks = tiktoken.write(kinds["byte-level BPE"])
        self.words = bert.write(kinds["WordPiece"])

    def read(self, what: str, size: int, make: Callable[[], Tokenizer]) -> None:
        """`make` gives a tokenizer that works, or a TokenizerError."""
        self.cases += 1
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def use() -> None:
            tokenizer = make()
            with contextlib.suppress(TokenizerError):  # a word for which there is no id
                tokenizer.decode(tokenizer.encode(TEXT.encode("utf-8", "surrogateescape")))

        began = time.thread_time()
        try:
            use()
            self.valid += 1
        except TokenizerError as error:
            if not str(error):
                self.problems.append(f"{what}: an error without a word")
        except BaseException as error:
            self.problems.append(f"{what}: {error!r}\n{traceback.format_exc(limit=-4)}")
        seconds = time.thread_time() - began
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
        self.timed(what, seconds, SECONDS, use)
        if grown > BYTES + FACTOR * size:
            self.problems.append(f"{what}: {grown / 2**20:.1f} MB for a file of {size} bytes")

    def one(self, kind: str) -> None:
        engine = self.draw.choice(("c", "python"))
        n = self.draw.randrange(1, 4)
        if kind == "tokenizer.json":
            document = json.loads(self.draw.choice(self.documents))
            for _ in range(n):
                self.spoil(document)
            data = self.damaged(json.dumps(document).encode())
            self.read(f"tokenizer.json {data[:300]!r}", len(data), lambda: tokenizer_json.read(data, engine))
        elif kind == "model":
            data = self.damaged(self.model())
            self.read(f"model {data[:300]!r}", len(data), lambda: sentencepiece.read(data, engine))
        elif kind == "tiktoken":
            data = self.damaged(self.lines(self.ranks, n))
            self.read(f"tiktoken {data[:300]!r}", len(data), lambda: tiktoken.read(data, "gpt2", engine=engine))
        elif kind == "vocab.txt":
            data = self.damaged(self.lines(self.words, n))
            self.read(f"vocab.txt {data[:300]!r}", len(data), lambda: bert.read(data, engine=engine))
        else:
            vocab = json.loads(self.vocab)
            if self.draw.random() < 0.5:
                self.spoil(vocab)
            merges, data = self.damaged(self.lines(self.merges, n)), json.dumps(vocab).encode()
            self.read(
                f"merges {merges[:300]!r}", len(data) + len(merges), lambda: gpt2.read(data, merges, engine=engine)
            )

    def model(self) -> bytes:
        """A ModelProto with a few pieces or settings changed, not checked."""
        proto = self.draw.choice(self.protos)
        pieces, settings = list(proto.pieces), {}
        for _ in range(self.draw.randrange(4)):
            i = self.draw.randrange(len(pieces))
            piece = pieces[i]
            how = self.draw.randrange(7)
            if how == 0:
                del pieces[i]
            elif how == 1:
                pieces.insert(self.draw.randrange(len(pieces)), piece)
            elif how == 2:
                pieces[i] = piece._replace(kind=self.draw.choice((0, 1, 2, 3, 4, 5, 6, 7, -1)))
            elif how == 3:
                pieces[i] = piece._replace(score=self.draw.choice((0.0, -0.0, 1e30, -1e30, float("nan"), float("inf"))))
            elif how == 4:
                text = self.draw.choice(("", "\0", "▁", "▁▁", "<0x41>", "<s>", "é" * 3000, "a b", piece.text * 2))
                pieces[i] = piece._replace(text=text)
            elif how == 5:
                settings["trainer_spec"] = {
                    "model_type": self.draw.choice((0, 1, 2, 3, 4, -1)),
                    "byte_fallback": self.draw.random() < 0.5,
                    "treat_whitespace_as_suffix": self.draw.random() < 0.5,
                }
            else:
                rules = bytearray(RULES)
                rules[self.draw.randrange(min(len(rules), 4000))] ^= 1 << self.draw.randrange(8)
                settings["normalizer_spec"] = {
                    "precompiled_charsmap": bytes(rules) if self.draw.random() < 0.2 else bytes(rules[:3000]),
                    "remove_extra_whitespaces": self.draw.random() < 0.5,
                }
        settings.setdefault("trainer_spec", {"model_type": proto.model_type, "byte_fallback": proto.byte_fallback})
        message = {"pieces": [{"piece": t, "score": s, "type": k} for t, s, k in pieces], **settings}
        return sentencepiece.encode(message, sentencepiece.MODEL)

    def lines(self, data: bytes, n: int) -> bytes:
        """Lines moved, doubled, dropped and changed."""
        lines = data.split(b"\n")
        for _ in range(n):
            i, j = self.draw.randrange(len(lines)), self.draw.randrange(len(lines))
            how = self.draw.randrange(5)
            if how == 0 and len(lines) > 1:
                del lines[i]
            elif how == 1:
                lines.insert(i, lines[j])
            elif how == 2:
                lines[i], lines[j] = lines[j], lines[i]
            elif how == 3:
                odd = str(self.draw.choice(NUMBERS + ODD)).encode("utf-8", "surrogatepass")
                lines[i] = self.draw.choice((odd, lines[i] + b" " + odd, lines[i][:-1] + odd))
            else:
                lines[i] = lines[i] + self.draw.choice((b" ", b"\r", b"\t", b"=", b"\xff", b"\0", b" 5", b"x" * 5000))
        return b"\n".join(lines)

    def damaged(self, data: bytes) -> bytes:
        """As it is, or with some bytes changed, left out or put in."""
        if self.draw.random() < 0.6 or not data:
            return data
        out = bytearray(data)
        for _ in range(self.draw.randrange(1, 4)):
            at = self.draw.randrange(len(out) + 1)
            length = self.draw.choice((0, 0, 1, 1, 2, 8, 100))
            out[at : at + length] = self.draw.choice(
                (b"", b"\0", b"\xff", b"\x80" * 5, b"9", b'"', b"}", b"\n", out[:20])
            )
        return bytes(out)


RULES = table("nmt_nfkc")
SHARES = {"tokenizer.json": 90_000, "model": 40_000, "tiktoken": 20_000, "vocab.json and merges.txt": 20_000,
          "vocab.txt": 30_000}  # fmt: skip


def work(seed: int, counts: dict[str, int]) -> tuple[int, int, float, list[str]]:
    """One process's share: (cases, valid ones, the slowest in seconds, problems)."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    mutants = Mutants(seed)
    for text in mutants.documents:  # the first of each kind imports modules, which is not the file's doing
        tokenizer_json.read(text.encode()).encode(TEXT.encode("utf-8", "surrogateescape"))
    sentencepiece.read(mutants.models[1])
    sentencepiece.read_proto(mutants.models[0])
    for kind, count in counts.items():
        mutants.one(kind)
        for _ in range(count - 1):
            mutants.one(kind)
            if len(mutants.problems) > 10:
                break
    return mutants.cases, mutants.valid, mutants.slowest, mutants.problems


# ---- By name ----


def vectors() -> Iterator[tuple[str, str, bytes]]:
    """(what it is, name of the file, content), each to be refused."""
    base = {kind: tokenizer_json.to_document(tokenizer) for kind, tokenizer in tokenizers().items()}

    def changed(kind: str, **places: Any) -> bytes:
        document = json.loads(json.dumps(base[kind]))
        for path, value in places.items():
            *way, last = path.split("__")
            place = document
            for part in way:
                place = place[int(part) if part.isdigit() else part]
            if value is ...:
                del place[last]
            else:
                place[int(last) if last.isdigit() else last] = value
        return json.dumps(document).encode()

    gpt, bpe, bert_kind, unigram = "byte-level BPE", "BPE of characters", "WordPiece", "Unigram"
    vocab: Any = base[gpt]["model"]["vocab"]
    regex = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    nested: Any = {"type": "NFC"}
    for _ in range(70):
        nested = {"type": "Sequence", "normalizers": [nested]}
    named = {
        "an unknown version": changed(gpt, version="2.0"),
        "no version": changed(gpt, version=...),
        "an unknown field": changed(gpt, surprise=1),
        "an unknown field of the model": changed(gpt, model__surprise=1),
        "no model": changed(gpt, model=...),
        "an unknown model": changed(gpt, model__type="Trigram"),
        "an id that is a float": changed(gpt, model__vocab={**vocab, "x": 1.5}),
        "an id that is true": changed(gpt, model__vocab={**vocab, "x": True}),
        "a negative id": changed(gpt, model__vocab={**vocab, "x": -1}),
        "id 2**31": changed(gpt, model__vocab={**vocab, "xx": 2**31}),
        "id 2**64": changed(gpt, model__vocab={**vocab, "xx": 2**64}),
        "sparse ids": changed(gpt, model__vocab={**vocab, "xx": 4_000_000}),
        "a special token far away": changed(gpt, model__vocab={**vocab, "<s>": 900_000}),
        "a surrogate in a stage": changed(gpt, model__end_of_word_suffix="\ud800"),
        "a doubled id": changed(gpt, model__vocab={**vocab, "xx": 5}),
        "an empty token": changed(gpt, model__vocab={**vocab, "": 262}),
        "a token of 1 MB": changed(gpt, model__vocab={**vocab, "x" * 1_000_000: 262}),
        "a lone surrogate": changed(gpt, model__vocab={**vocab, "\ud800": 262}),
        "a character that is no byte": changed(gpt, model__vocab={**vocab, "日": 262}),
        "a merge of unknown tokens": changed(gpt, model__merges=[["qq", "zz"]]),
        "a merge into an unknown token": changed(gpt, model__merges=[["q", "z"]]),
        "a merge of three": changed(gpt, model__merges=[["a", "b", "c"]]),
        "a merge of nothing": changed(gpt, model__merges=[[]]),
        "a merge of numbers": changed(gpt, model__merges=[[1, 2]]),
        "a merge with an empty token": changed(gpt, model__merges=[["", "a"]]),
        "a merge of special tokens": changed(gpt, model__merges=[["<s>", "a"]]),
        "a doubled merge": changed(gpt, model__merges=base[gpt]["model"]["merges"][:1] * 2),
        "dropout of 2": changed(gpt, model__dropout=2),
        "an unknown unk": changed(bpe, model__unk_token="?"),
        "an infinite score": changed(unigram, model__vocab=[["a", 0.0]]).replace(b"0.0]", b"1e999]"),
        "a score that is NaN": changed(unigram, model__vocab=[["a", 0.0]]).replace(b"0.0]", b"NaN]"),
        "a score of 5,000 digits": changed(unigram, model__vocab=[["a", 0]]).replace(
            b", 0]", b", " + b"9" * 5000 + b"]"
        ),
        "a score that is a string": changed(unigram, model__vocab=[["a", "0"]]),
        "an unk_id that is none": changed(unigram, model__unk_id=99),
        "a doubled piece": changed(unigram, model__vocab=[["a", 0.0], ["a", 0.0]], model__unk_id=0),
        "a vocabulary without the unknown token": changed(bert_kind, model__unk_token="?"),
        "words of -1 characters": changed(bert_kind, model__max_input_chars_per_word=-1),
        "a regular expression that backtracks": changed(gpt, pre_tokenizer=regex),
        "a regular expression to replace": changed(
            gpt, normalizer={"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}
        ),
        "an unknown normalizer": changed(gpt, normalizer={"type": "NFX"}),
        "an unknown pre-tokenizer": changed(gpt, pre_tokenizer={"type": "X"}),
        "an unknown decoder": changed(gpt, decoder={"type": "X"}),
        "an unknown post-processor": changed(gpt, post_processor={"type": "X"}),
        "a stage without a type": changed(gpt, normalizer={}),
        "a stage that is a list": changed(gpt, decoder=[]),
        "stages 70 deep": changed(gpt, normalizer=nested),
        "a table of rules that is none": changed(
            gpt, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
        ),
        "a template without a text": changed(bert_kind, post_processor__single=[]),
        "a template with a token that is none": changed(bert_kind, post_processor__special_tokens={}),
        "an added token without a name": changed(gpt, added_tokens__0__content=""),
        "an added token with another's id": changed(gpt, added_tokens__0__id=5),
        "an added token far away": changed(unigram, added_tokens__1__id=4_000_000),
        "an added token twice": changed(gpt, added_tokens=base[gpt]["added_tokens"] * 2),
        "truncation below zero": changed(bert_kind, truncation__max_length=-1),
        "an unknown padding": changed(bert_kind, padding__strategy="Longest"),
        "a doubled key": b'{"version": "1.0", "version": "1.0"}',
        "half a file": changed(gpt)[:3000],
        "lists 100,000 deep": b"[" * 100_000,
        "objects 65 deep": b'{"a":' * 65 + b"1" + b"}" * 65,
        "NUL": b"\0" * 1000,
        "nothing": b"",
        "UTF-16": changed(gpt).decode().encode("utf-16"),
    }
    yield from ((what, "tokenizer.json", data) for what, data in named.items())
    good = sentencepiece.write_proto(protos()[0])
    some = {"piece": "a", "score": 0.0, "type": 1}
    unk = {"piece": "<unk>", "score": 0.0, "type": 2}

    def proto(*pieces: dict[str, Any], **settings: Any) -> bytes:
        return sentencepiece.encode({"pieces": [unk, *pieces], **settings}, sentencepiece.MODEL)

    named = {
        "no pieces": proto()[:0] + b"\x12\x00",
        "a field that is none": good + b"\x78\x01",
        "a group": good + b"\x0b\x0c",
        "a number without an end": good + b"\x0a" + b"\xff" * 11,
        "a length past the end": good + b"\x0a\xff\xff\xff\xff\x07",
        "half a piece": good[:-5],
        "no unknown piece": sentencepiece.encode({"pieces": [some]}, sentencepiece.MODEL),
        "two unknown pieces": proto(unk | {"piece": "x"}),
        "a doubled piece": proto(some, some),
        "an empty piece": proto(some | {"piece": ""}),
        "a piece of 1 MB": proto(some | {"piece": "a" * 1_000_000}),
        "a piece with NUL": proto(some | {"piece": "a\0b"}),
        "a score that is NaN": proto(some | {"score": float("nan")}),
        "an infinite score": proto(some | {"score": float("-inf")}),
        "a type that is none": proto(some | {"type": 7}),
        "a byte piece without fallback": proto({"piece": "<0x41>", "type": 6}),
        "fallback without bytes": proto(some, trainer_spec={"byte_fallback": True}),
        "a model of words": proto(some, trainer_spec={"model_type": 3}),
        "a model that is none": proto(some, trainer_spec={"model_type": 9}),
        "a denormalizer": proto(some, denormalizer_spec={"precompiled_charsmap": RULES}),
        "a table of rules that is none": proto(some, normalizer_spec={"precompiled_charsmap": b"abc"}),
        "a table cut off": proto(some, normalizer_spec={"precompiled_charsmap": RULES[:3000]}),
        "a table that leads outside": proto(
            some, normalizer_spec={"precompiled_charsmap": RULES[:4] + b"\xff\xff\xff\x7f" * 300 + RULES[1204:]}
        ),
        "a piece that is no UTF-8": b"\x0a\x03\x0a\x01\xff",
    }
    yield from ((what, "tokenizer.model", data) for what, data in named.items())
    ranks = b"".join(b"%s %d\n" % (base64.b64encode(bytes([byte])), byte) for byte in range(256))
    named = {
        "a byte missing": ranks[7:],
        "no rank": ranks + b"YWI=\n",
        "a rank that is negative": ranks + b"YWI= -1\n",
        "a rank of 2**31": ranks + b"YWI= 2147483648\n",
        "a rank twice": ranks + b"YWI= 5\n",
        "a token twice": ranks + b"YQ== 300\n",
        "a rank far away": ranks + b"YWI= 4000000\n",
        "no base64": ranks + b"Y!I= 300\n",
        "a token of 1 MB": ranks + base64.b64encode(b"a" * 1_000_000) + b" 300\n",
        "three words": ranks + b"YWI= 300 1\n",
    }
    yield from ((what, "x.tiktoken", data) for what, data in named.items())
    named = {
        "no [UNK]": b"a\nb\n",
        "a line twice": b"[UNK]\na\na\n",
        "an empty line": b"[UNK]\n\na\n",
        "a token of 1 MB": b"[UNK]\n" + b"a" * 1_000_000,
        "no UTF-8": b"[UNK]\n\xff\n",
        "more lines than there may be tokens": b"[UNK]\n" + b"a\n" * (files.MAX_VOCAB + 1),
    }
    yield from ((what, "vocab.txt", data) for what, data in named.items())


def by_name(bar: Bar, root: str) -> None:
    """Each vector as a file, through `load`."""
    cases = 0
    for what, name, data in vectors():
        path = os.path.join(root, name)
        with open(path, "wb") as file:
            file.write(data)
        cases += 1
        try:
            load(path, **({"pattern": "gpt2"} if name.endswith("tiktoken") else {}))
            bar.failed(f"{name} with {what}: accepted")
        except TokenizerError as error:
            if path not in str(error):
                bar.failed(f"{name} with {what}: the error does not name the file: {error}")
        except Exception as error:
            bar.failed(f"{name} with {what}: {error!r}")
        os.unlink(path)
    path = os.path.join(root, "tokenizer.json")
    with open(path, "wb") as file:
        file.truncate(files.MAX_FILE + 1)
    for what, make in {
        "a file of 64 MB and a byte": None,
        "a pipe": os.mkfifo,
        "a folder in its place": os.mkdir,
    }.items():
        if make:
            os.unlink(path)
            make(path)
        try:
            load(path)
            bar.failed(f"{what}: accepted")
        except (TokenizerError, FileNotFoundError):
            cases += 1
    bar.passed(cases, "vectors by name, each refused")


def dense(bar: Bar) -> None:
    """Files of 1 MB with as many tokens as fit: what they cost."""
    names = [f"{n:x}" for n in range(90_000)]
    text = json.dumps({name: i for i, name in enumerate(["?", *(name + "x" for name in names)])})
    pieces = [{"piece": name + "x", "score": -float(i), "type": 1} for i, name in enumerate(names)]
    proto = {"pieces": [{"piece": "<unk>", "type": 2}, *pieces]}
    model = {"type": "WordLevel", "vocab": json.loads(text), "unk_token": "?"}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [[name + "x", 0] for name in names]}
    top = {"version": "1.0"}
    both = sentencepiece.encode(proto | {"trainer_spec": {"model_type": 2}}, sentencepiece.MODEL)
    makers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "words": (json.dumps({**top, "model": model}).encode(), tokenizer_json.read),
        "a Unigram's pieces": (json.dumps({**top, "model": unigram}).encode(), tokenizer_json.read),
        "a .model's pieces, Unigram": (sentencepiece.encode(proto, sentencepiece.MODEL), sentencepiece.read),
        "a .model's pieces, BPE": (both, sentencepiece.read),
        "vocab.txt's lines": (b"[UNK]\n" + "\n".join(names).encode(), bert.read),
        "empty objects": (b"[" + b"{}," * 300_000 + b"{}]", tokenizer_json.read),
        "merges that are none": (b'{"version":"1.0","model":{"vocab":{},"merges":[' + b"[]," * 300_000 + b"[]]}}",
                                 tokenizer_json.read),
    }  # fmt: skip
    for what, (data, read) in makers.items():
        before, began = reset_peak(), time.thread_time()
        with contextlib.suppress(TokenizerError):
            read(data)
        seconds, grown = time.thread_time() - began, peak() - before
        factor = max(0, grown - BYTES) / len(data)
        bar.passed(
            1, f"{len(data) / 1e6:.1f} MB of {what}: {seconds:.1f} s, {grown >> 20} MB, 8 MB + {factor:.0f} times"
        )
        if seconds > 30 or factor > FACTOR:
            bar.failed(f"{what}: more than 30 s or 8 MB + {FACTOR} times the file")


def test(bar: Bar) -> None:
    counts = {kind: max(1, bar.scaled(count) // WORKERS) for kind, count in SHARES.items()}
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        results = list(pool.map(work, [1000 * bar.seed + n for n in range(WORKERS)], [counts] * WORKERS))
    for problem in [problem for result in results for problem in result[3]][:10]:
        bar.failed(problem)
    cases, valid = sum(r[0] for r in results), sum(r[1] for r in results)
    bar.passed(
        cases, f"mutants: {cases - valid:,} refused, {valid:,} valid (slowest {max(r[2] for r in results):.2f} s)"
    )
    with fast_folder() as root:
        by_name(bar, root)
    if not bar.quick:
        dense(bar)


if __name__ == "__main__":
    run_bar("S7", test)
