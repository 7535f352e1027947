"""Small models trained from scratch, modelled on the large ones: mBERT and XLM-R as encoders, mT5 as generator.

The two encoder families differ as their models do: in the architecture (XLM-R's is RoBERTa's) and in the vocabulary.
BERT's is smaller and made of WordPieces, matched longest-first from left to right; XLM-R's is a Unigram model, which
takes the most likely segmentation. The generator's vocabulary is byte-pair encoding with byte fallback, so that it
can reproduce any text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from xqg_repro.train.architecture import EncoderArchitecture, Family, Seq2SeqArchitecture


def encoder(shape: EncoderArchitecture, texts: Sequence[str], longest: int) -> tuple[Any, Any]:
    """Tokenizer, and encoder with random weights from PyTorch's random state.

    Args:
        shape: family and sizes.
        texts: to train the vocabulary on.
        longest: maximum length in tokens.
    """
    import transformers

    tokenizer = train_tokenizer(texts, shape.vocabulary, shape.family)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate_size,
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.dropout,
        "type_vocab_size": 1,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if shape.family is Family.BERT:
        bert = transformers.BertConfig(**sizes, max_position_embeddings=longest)
        return tokenizer, transformers.BertModel(bert, add_pooling_layer=False)
    # XLM-R's positions start after the padding token's id
    xlmr = transformers.XLMRobertaConfig(**sizes, max_position_embeddings=longest + tokenizer.pad_token_id + 1)
    return tokenizer, transformers.XLMRobertaModel(xlmr, add_pooling_layer=False)


def train_tokenizer(texts: Sequence[str], size: int, family: Family) -> Any:
    """A fast tokenizer with at most ``size`` pieces; the same texts give the same pieces."""
    return _word_piece(texts, size) if family is Family.BERT else _unigram(texts, size)


def _word_piece(texts: Sequence[str], size: int) -> Any:
    """BERT's pieces: all but the first of a word begin with ``##``.

    The trainer numbers the non-initial characters of words in random order and breaks ties between pairs by these
    numbers. To make it deterministic, they are given to it as special tokens of a temporary tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    # split ideographs, as BERT does, but keep accents: they are the vowels of Bengali and Telugu
    bert = normalizers.BertNormalizer(handle_chinese_chars=True, strip_accents=False, lowercase=True)
    normalizer, words = normalizers.Sequence([normalizers.NFKC(), bert]), pre_tokenizers.BertPreTokenizer()
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, words
    non_initial: set[str] = set()
    for text in texts:
        for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text)):
            non_initial.update(word[1:])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{c}" for c in sorted(non_initial))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=size, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.decoder = decoders.WordPiece()
    return _finish(tokenizer, pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")


def _unigram(texts: Sequence[str], size: int) -> Any:
    """Trained by SentencePiece on one thread, as the Unigram trainer of ``tokenizers`` is not deterministic."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([normalizer.normalize_str(text) for text in texts]),
        model_writer=written,
        model_type="unigram",
        vocab_size=size - 2,  # the padding and the mask are added below
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    special = ["<s>", "<pad>", "</s>", "<unk>"]  # XLM-R's order
    pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(trained.get_piece_size())]
    learnt = [piece for piece in pieces if piece[0] not in special]
    vocabulary = [*((name, 0.0) for name in special), *learnt, ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _finish(tokenizer, pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")


def _finish(tokenizer: Any, **special: str) -> Any:
    """The tokenizer for transformers, with ``cls`` before each text and ``sep`` after it; ``special``: role → token."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    first, last = special["cls"], special["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in special.items()}
    )


def generator(shape: Seq2SeqArchitecture, texts: Sequence[str]) -> tuple[Any, Any]:
    """Tokenizer, and T5 with random weights from PyTorch's random state."""
    import transformers

    tokenizer = train_byte_fallback_tokenizer(texts, shape.vocabulary)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "d_model": shape.hidden_size,
        "d_kv": shape.hidden_size // shape.heads,
        "d_ff": shape.intermediate_size,
        "num_layers": shape.layers,
        "num_decoder_layers": shape.decoder_layers,
        "num_heads": shape.heads,
        "dropout_rate": shape.dropout,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    return tokenizer, transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))


def train_byte_fallback_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A fast byte-pair tokenizer with about ``size`` pieces that decodes every text in NFC to itself.

    256 of the pieces are bytes; characters that are not in the training texts are encoded as their UTF-8 bytes.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=size - 256, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # the bytes are added last: the trainer would mark them as special, and decoding skips special tokens
    parts = json.loads(tokenizer.to_str())
    vocabulary = parts["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
