from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import contents
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.train import trim as trim_stage, trimmed
from xqg_repro.train.trim import read_texts, trim

CORPUS = [
    "The river flows through a large city and into the sea.",
    "Der Fluss fließt durch eine große Stadt und ins Meer.",
    "Река течёт через большой город и впадает в море.",
    "Where does the river flow? Through the city, the city!",
]
KEPT = [CORPUS[0], "Where does the river flow?"]
UNKNOWN = "Θάλασσα 🌊 ñandú, the city…\tRiver"
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<turn>", *(f"<unused{number}>" for number in range(20))]

MakeModel = Callable[..., Path]


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """As Gemma's: byte fallback, spaces as ``▁``, no words, a start token, and added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=250, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    parts = json.loads(tokenizer.to_str())
    for piece in (*(f"<0x{byte:02X}>" for byte in range(256)), "\n"):
        parts["model"]["vocab"].setdefault(piece, len(parts["model"]["vocab"]))
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = {f"{role}_token": f"<{role}>" for role in ("pad", "eos", "bos", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def qwen_tokenizer(ignore_merges: bool = False) -> PreTrainedTokenizerFast:
    """As Qwen's or Llama 3's: the bytes of words, and special tokens behind the vocabulary."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<reserved>", "<|end|>", "<|pad|>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """``made("gemma" or "qwen")``: the folder of a tiny random model with its tokenizer, and the texts to keep."""

    def make(kind: str, **settings: Any) -> Path:
        torch.manual_seed(1)
        if kind == "gemma":
            tokenizer = gemma_tokenizer()
            sizes = SIZES | {"vocab_size": len(tokenizer), "head_dim": 8, "num_key_value_heads": 1}
            ids = {"pad_token_id": 0, "eos_token_id": [1, 4], "bos_token_id": 2}
            model: Any = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, **ids, initializer_range=0.5))
        else:
            tokenizer = qwen_tokenizer(**settings)
            ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
            config: Any = {"qwen": Qwen2Config, "phi": PhiConfig}[kind]
            network: Any = {"qwen": Qwen2ForCausalLM, "phi": PhiForCausalLM}[kind]
            sizes = SIZES | {"vocab_size": len(tokenizer) + 13, "num_key_value_heads": 1}  # some rows have no token
            model = network(config(**sizes, **ids, tie_word_embeddings=False, initializer_range=0.5))
            torch.nn.init.normal_(model.lm_head.weight)
            if kind == "phi":
                torch.nn.init.normal_(model.lm_head.bias)
        folder = tmp_path_factory.mktemp(kind) / "model"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def gemma(made: MakeModel) -> Path:
    """A tiny Gemma 3. Never to be written to."""
    return made("gemma")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text("".join(f"{text}\n" for text in KEPT), encoding="utf-8")
    return path


def both(full: Path, small: Path) -> tuple[Any, Any, Any, Any]:
    """Tokenizers and models of the full folder and of the trimmed one."""
    tokenizers = (AutoTokenizer.from_pretrained(folder) for folder in (full, small))
    return (*tokenizers, *(AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (full, small)))


def tokens(tokenizer: Any, texts: Iterable[str]) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts]


@pytest.mark.parametrize("kind", ["gemma", "qwen", "phi"])
def test_a_trimmed_model_reads_and_writes_the_texts_as_the_full_one(
    made: MakeModel, kept: Path, tmp_path: Path, kind: str
) -> None:
    folder = made(kind)
    counts = trim(str(folder), [kept], tmp_path / "small").counts
    full, small, model, cut = both(folder, tmp_path / "small")
    assert counts["former_tokens"] == model.config.vocab_size > cut.config.vocab_size == counts["tokens"] == len(small)
    assert counts["parameters"] == cut.num_parameters() < model.num_parameters()
    prompts = [*KEPT, *(f" {text}" for text in KEPT)]
    assert tokens(small, prompts) == tokens(full, prompts)

    rows = torch.tensor(full.convert_tokens_to_ids(small.convert_ids_to_tokens(range(len(small)))))
    for text in KEPT:
        with torch.inference_mode():
            expected = model(**full(text, return_tensors="pt", return_token_type_ids=False)).logits
            actual = cut(**small(text, return_tensors="pt", return_token_type_ids=False)).logits
        assert torch.allclose(actual, expected[..., rows], atol=1e-5)
        assert actual.std() > 0.1


@pytest.mark.parametrize("kind", ["gemma", "qwen"])
def test_other_texts_are_encoded_without_loss_in_more_tokens(
    made: MakeModel, kept: Path, tmp_path: Path, kind: str
) -> None:
    folder = made(kind)
    trim(str(folder), [kept], tmp_path / "small")
    full, small = (AutoTokenizer.from_pretrained(place) for place in (folder, tmp_path / "small"))
    for text in (UNKNOWN, *CORPUS):
        ids = small(text)["input_ids"]
        assert small.decode(ids, skip_special_tokens=True) == text == full.decode(full(text)["input_ids"], True)
    assert len(small(CORPUS[2])["input_ids"]) > len(full(CORPUS[2])["input_ids"])


def test_special_tokens_get_new_numbers_and_reserves_go(gemma: Path, kept: Path, tmp_path: Path) -> None:
    trim(str(gemma), [kept], tmp_path / "small")
    full, small, _, cut = both(gemma, tmp_path / "small")
    names = small.get_vocab()
    assert names.keys() >= {"<pad>", "<eos>", "<bos>", "<unk>", "<turn>", "\n", "<0x00>", "<0xFF>"}
    assert not any(name.startswith("<unused") for name in names)  # <turn> ends a text, by config.json
    assert cut.config.eos_token_id == [names["<eos>"], names["<turn>"]] == cut.generation_config.eos_token_id
    assert (cut.config.bos_token_id, small.bos_token_id) == (names["<bos>"], names["<bos>"])
    assert tokens(small, ["the\n\ncity"]) == tokens(full, ["the\n\ncity"])
    written = json.loads((tmp_path / "small/generation_config.json").read_text())
    assert written["pad_token_id"] == names["<pad>"]


def test_special_tokens_behind_the_vocabulary_get_new_numbers(made: MakeModel, kept: Path, tmp_path: Path) -> None:
    folder = made("qwen", ignore_merges=True)
    (folder / "chat_template.jinja").write_text("{{ '<reserved>' }}")
    trim(str(folder), [kept], tmp_path / "small")
    full, small, model, cut = both(folder, tmp_path / "small")
    assert full.eos_token_id == model.config.eos_token_id != cut.config.eos_token_id == small.eos_token_id
    assert small.convert_tokens_to_ids("<reserved>") == len(small) - 4  # the chat template names it
    assert tokens(small, [*KEPT, "<|end|>a"]) == tokens(full, [*KEPT, "<|end|>a"])


def test_the_first_tokens_of_a_script_stay(gemma: Path, kept: Path, tmp_path: Path) -> None:
    sizes = []
    for name, settings in (("0", {}), ("ru", {"first": 99, "languages": ["ru"]}), ("all", {"first": 999})):
        trim(str(gemma), [kept], tmp_path / name, **settings)
        full, small = (AutoTokenizer.from_pretrained(place) for place in (gemma, tmp_path / name))
        sizes.append(len(small))
        keeps_russian = tokens(small, CORPUS[2:3]) == tokens(full, CORPUS[2:3])
        keeps_german = tokens(small, CORPUS[1:2]) == tokens(full, CORPUS[1:2])
        assert (keeps_russian, keeps_german) == {"0": (False, False), "ru": (True, False), "all": (True, True)}[name]
    assert sizes == sorted(set(sizes)) and sizes[-1] < len(full)  # without reserves


def test_texts_of_json_count_but_not_its_names(tmp_path: Path) -> None:
    value = {"id": "x1", "data": [{"title": "One", "qas": [{"question": "Two?", "lang": "en"}], "n": 3, "none": None}]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    (tmp_path / "b.jsonl").write_text('{"docid": "d1", "text": "Three"}\n\n{"text": ["Four", " "]}\n')
    (tmp_path / "c.tsv").write_text("Five\tsix\n\nSeven")
    found = [[*read_texts(tmp_path / name)] for name in ("a.json", "b.jsonl", "c.tsv")]
    assert found == [["One", "Two?"], ["Three", "Four"], ["Five\tsix", "Seven"]]


def test_the_same_command_reuses_the_folder_and_other_texts_rebuild_it(
    gemma: Path, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "xqg_repro")
    output = tmp_path / "small"
    command = ["train", "trim", "--model", str(gemma), "--texts", str(kept), "--output", str(output)]
    outcomes, written = [], []
    for more in ([], [], ["--force"], ["--first", "5", "--languages", "ru"]):
        caplog.clear()
        assert cli.main([*command, *more]) == 0
        outcomes.append(next(word for word in ("up to date", "--force", "changed: ", "wrote") if word in caplog.text))
        written.append(contents(output))
    assert outcomes == ["wrote", "up to date", "--force", "changed: "]
    assert written[0] == written[1] == written[2] != written[3]


def test_the_card_says_what_was_done_and_passes_the_licence_on(made: MakeModel, kept: Path, tmp_path: Path) -> None:
    folder = made("gemma")
    trim(str(folder), [kept], tmp_path / "without")
    assert "no copy of it" in (tmp_path / "without/README.md").read_text()
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: terms-x\ntags: [a]\n---\nThe model\n")
    (folder / "LICENSE.txt").write_text("All may use it.\n")
    manifest = trim(str(folder), [kept], tmp_path / "small", first=7)
    page = (tmp_path / "small/README.md").read_text()
    assert page.startswith("---\nlicense: other\nlicense_name: terms-x\n---\n\n# model with ")
    for shown in (f"{manifest.counts['tokens']} of", "first 7 ", manifest.inputs["texts"][:16], "see LICENSE.txt"):
        assert shown in page
    assert (tmp_path / "small/LICENSE.txt").read_text() == "All may use it.\n"
    (folder / "LICENSE.txt").write_text("None may.\n")
    trim(str(folder), [kept], tmp_path / "small", first=7)
    assert (tmp_path / "small/LICENSE.txt").read_text() == "None may.\n"


def test_bfloat16_weights_stay_as_they_are(made: MakeModel, kept: Path, tmp_path: Path) -> None:
    folder = made("gemma")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    trim(str(folder), [kept], tmp_path / "small")
    full, small = (AutoModelForCausalLM.from_pretrained(place, dtype="auto") for place in (folder, tmp_path / "small"))
    assert small.dtype == torch.bfloat16
    expected = full.state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(small.state_dict()["model.layers.0.mlp.up_proj.weight"], expected)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--model {model} --texts nowhere.txt", "nowhere.txt"),
        ("--model {model} --texts blank.txt", "no text"),
        ("--model {model} --texts kept.txt --first -1", "-1"),
        ("--model {model} --texts kept.txt --first 1 --languages xx", "'xx'"),
        ("--model ./nowhere --texts kept.txt", "nowhere"),
        ("--model {t5} --texts kept.txt", "a causal language model"),
        ("--model {model} --texts kept.txt --output {model}", "own output"),
    ],
)
def test_input_errors_write_nothing(
    gemma: Path,
    tiny_generator: Path,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    shown: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blank.txt").write_text("\n \n")
    before = sorted(tmp_path.rglob("*"))
    words = line.format(model=gemma, t5=tiny_generator).split()
    assert cli.main(["train", "trim", "--output", "small", *words]) == 2
    assert shown in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tokenizer_of_another_kind_is_refused(made: MakeModel, kept: Path, tmp_path: Path, tiny_model: Path) -> None:
    folder = made("gemma")
    word_pieces = AutoTokenizer.from_pretrained(tiny_model)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    word_pieces.save_pretrained(folder)
    with pytest.raises(InputError, match="WordPiece"):
        trim(str(folder), [kept], tmp_path / "small")


@pytest.mark.parametrize("fault", ["merge", "row"])
def test_a_model_that_differs_is_an_error(
    gemma: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "merge":  # the parts of used tokens are lost
        monkeypatch.setattr(trim_stage.BytePairs, "close", lambda self, tokens: {*tokens})
    else:
        cut = trimmed.cut
        monkeypatch.setattr(
            trimmed, "cut", lambda model, rows, folder: cut(model, [*rows[:-2], rows[-1], rows[-2]], folder)
        )
    with pytest.raises(InputError, match="differs from the full one: its " + {"merge": "tok", "row": "logits"}[fault]):
        trim(str(gemma), [kept], tmp_path / "small")
    assert not (tmp_path / "small").exists()
