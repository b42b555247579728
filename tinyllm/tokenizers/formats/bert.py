"""BERT's tokenizer around a vocab.txt (vocab_txt.py): the file has the tokens, this has the stages.

The file does not say whether text is lowercased: the caller does. Everything else is as in BERT: WordPiece with "##"
and "[UNK]", BERT's normalizer and pre-tokenizer, [CLS] ... [SEP] around a text.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders, models, normalizers, postprocess, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats import vocab_txt
from tinyllm.tokenizers.pipeline import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def read(data: bytes, lowercase: bool = True, unk_token: str = "[UNK]", engine: str | None = None) -> Tokenizer:
    """The tokenizer of a vocab.txt; those of BERT's special tokens that it has are special, and the unknown one."""
    vocab = vocab_txt.parse(data, unk_token)
    around: dict[str, int] = {name: vocab[name] for name in ("[CLS]", "[SEP]") if name in vocab}
    template = None
    if len(around) == 2:
        template = postprocess.TemplateProcessing.of("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", around)
    return Tokenizer(
        models.WordPiece(vocab, unk_token, engine=engine),
        normalizers.BertNormalizer(lowercase=lowercase),
        pretokenizers.BertPreTokenizer(),
        template,
        decoders.WordPiece(),
        {AddedToken(name, special=True): vocab[name] for name in dict.fromkeys([*SPECIAL, unk_token]) if name in vocab},
    )


def write(tokenizer: Tokenizer) -> bytes:
    """The bytes of its vocab.txt. TokenizerError for a tokenizer that is none of BERT's kind."""
    model: Any = tokenizer.model
    if not isinstance(model, models.WordPiece):
        raise TokenizerError(f"vocab.txt holds a WordPiece, and this is a {type(model).__name__}")
    if (model.unk_token, model.continuing_subword_prefix, model.max_input_chars_per_word) != ("[UNK]", "##", 100):
        raise TokenizerError('vocab.txt means "[UNK]", "##" and words of up to 100 characters; this model has others')
    stages = normalizers.BertNormalizer(lowercase=lowercases(tokenizer)), pretokenizers.BertPreTokenizer()
    if (_plain(tokenizer.normalizer), tokenizer.pre_tokenizer) != stages:
        raise TokenizerError(
            "vocab.txt means BERT's normalizer and pre-tokenizer, as they are by default but for lowercase; this "
            "tokenizer has others"
        )
    if len(tokenizer.tokens) > len(model.tokens) or any(not token.special for token in tokenizer.added_tokens.values()):
        raise TokenizerError(
            "vocab.txt has no added tokens but special ones of its vocabulary; this tokenizer has some"
        )
    data = b"".join(token + b"\n" for token in model.tokens)
    if vocab_txt.parse(data) != model.vocab:
        raise TokenizerError(
            "vocab.txt can't hold this vocabulary: a token has the end of a line or a space at its end"
        )
    return data


def lowercases(tokenizer: Tokenizer) -> bool:
    """Whether it lowercases text, as BERT's normalizer does: what a vocab.txt doesn't say."""
    return bool(getattr(tokenizer.normalizer, "lowercase", False))


def _plain(stage: Any) -> Any:
    """BERT's normalizer with `strip_accents` left out where that says nothing new."""
    same = isinstance(stage, normalizers.BertNormalizer) and stage.strip_accents == stage.lowercase
    return dataclasses.replace(stage, strip_accents=None) if same else stage
