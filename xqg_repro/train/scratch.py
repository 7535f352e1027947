"""Small models from scratch, in the manner of the large ones: mBERT and XLM-R as encoders, mT5 as generator.

The two encoder families differ as their models do, in the model (XLM-R's is RoBERTa's) and in the vocabulary. BERT's is
the smaller one, of pieces made by merging frequent pairs, as WordPieces are made; XLM-R's is a Unigram model, which
takes the likeliest segmentation. mT5's is byte-pair with single bytes to fall back on here: it gives back every text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from xqg_repro.train.recipe import EncoderArchitecture, Family, Seq2SeqArchitecture


def encoder(shape: EncoderArchitecture, texts: Sequence[str], longest: int) -> tuple[Any, Any]:
    """Tokenizer and encoder with random weights; PyTorch's seed decides them.

    Args:
        shape: family and sizes.
        texts: what the vocabulary is trained on.
        longest: tokens that the model must be able to read.
    """
    import transformers

    tokenizer = train_tokenizer(texts, shape.vocabulary, shape.family)
    sizes = {
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
        config = transformers.BertConfig(**sizes, max_position_embeddings=longest)
        return tokenizer, transformers.BertModel(config, add_pooling_layer=False)
    # XLM-R counts positions from the padding token's number on
    config = transformers.XLMRobertaConfig(**sizes, max_position_embeddings=longest + tokenizer.pad_token_id + 1)
    return tokenizer, transformers.XLMRobertaModel(config, add_pooling_layer=False)


def train_tokenizer(texts: Sequence[str], size: int, family: Family) -> Any:
    """A fast tokenizer of at most ``size`` pieces; the same texts give the same pieces."""
    return _byte_pair(texts, size) if family is Family.BERT else _unigram(texts, size)


def _byte_pair(texts: Sequence[str], size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _finished(tokenizer, bos="<s>", eos="</s>")


def _normalizer() -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def _unigram(texts: Sequence[str], size: int) -> Any:
    """Trained by SentencePiece on one thread: ``tokenizers``' own Unigram trainer gives other pieces each time."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    normalizer = _normalizer()
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
    pieces = [(name, 0.0) for name in special] + [piece for piece in pieces if piece[0] not in special]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _finished(tokenizer, mask="<mask>")


def _finished(tokenizer: Any, **more: str) -> Any:
    """With ``<s>`` and ``</s>`` around each text, as first token and separator; ``more`` names further ones."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    special = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", **more}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in special.items()}
    )


def generator(shape: Seq2SeqArchitecture, texts: Sequence[str]) -> tuple[Any, Any]:
    """Tokenizer and T5 with random weights; PyTorch's seed decides them."""
    import transformers

    tokenizer = train_byte_fallback_tokenizer(texts, shape.vocabulary)
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=shape.hidden_size,
        d_kv=shape.hidden_size // shape.heads,
        d_ff=shape.intermediate_size,
        num_layers=shape.layers,
        num_decoder_layers=shape.decoder_layers,
        num_heads=shape.heads,
        dropout_rate=shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, transformers.T5ForConditionalGeneration(config)


def train_byte_fallback_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A fast byte-pair tokenizer of about ``size`` pieces that gives back every text in NFC as it was.

    Characters that the training texts lack fall back to their UTF-8 bytes; 256 of the pieces are for these.
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
    # the bytes come last: the trainer would mark them as special, and decoding would leave them out
    parts = json.loads(tokenizer.to_str())
    vocabulary = parts["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
