"""The library's own checks on checkpoints: they pass, and they find what is broken."""

import pytest
import torch
from typer.testing import CliRunner

import dissect
from dissect.cli import app
from dissect.data.chat import chat_format
from dissect.evaluation.self_check import CHECKS, self_check
from tests.models.test_adapter import make_adapter
from tests.support.chats import FORMATS, chat_tokenizer
from tests.support.layouts import make_old_olmo, make_whole_gemma3
from tests.support.tiny import make_checkpoint, make_tokenizer

VOCABULARY = 480


CHAT = "chat ids equal transformers'"
PLAIN = dict.fromkeys(CHECKS, True) | {CHAT: None}
"""What is found of a sound checkpoint without a chat template."""


def passed(path, **settings):
    return {result.name: result.passed for result in self_check(path, progress=False, **settings)}


@pytest.mark.parametrize(
    "architecture", ["llama", "gpt2", "neox", "gemma3", "phi", "gptj", "opt", "olmo3", "phi3_long"]
)
def test_every_check_passes_on_every_kind_of_model(architecture, tmp_path):
    assert passed(make_checkpoint(architecture, tmp_path / "model")) == PLAIN


@pytest.mark.draws  # adapters begin with global random numbers
def test_layouts_adapters_and_files_that_transformers_does_not_read(tmp_path):
    make_old_olmo(tmp_path / "olmo", n_kv_heads=2)
    assert passed(tmp_path / "olmo") == PLAIN
    assert passed(make_whole_gemma3(tmp_path / "gemma")[0]) == PLAIN
    base = make_checkpoint("llama", tmp_path / "base", dtype=torch.bfloat16)
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    assert passed(tmp_path / "adapter") == PLAIN


def test_without_a_tokenizer_what_needs_one_is_skipped(tmp_path):
    found = passed(make_checkpoint("qwen2", tmp_path / "model", tokenizer=False))
    assert found == PLAIN | {"identity patch is 0": None}


def test_a_model_that_computes_something_else_is_found_out(tmp_path, monkeypatch):
    """A swap of keys and values in the map would be undone by saving, but not by transformers."""
    path = make_checkpoint("llama_ungrouped", tmp_path / "model")
    import dissect.evaluation.self_check as module

    def spoiled(*args, **kwargs):
        model = dissect.load(*args, **kwargs)
        for block in model.blocks:
            block.attn.W_K.data, block.attn.W_V.data = block.attn.W_V.data, block.attn.W_K.data
        return model

    monkeypatch.setattr(module, "load", spoiled)
    assert passed(path) == {
        "logits equal transformers'": False,
        "identity patch is 0": True,
        "saved and loaded bit-equal": False,
        "generation equals transformers'": False,
        CHAT: None,
    }


def test_the_command_prints_a_line_each(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model")
    done = CliRunner().invoke(app, ["inspect", str(path), "--check", "--device", "cpu", "-q"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == len(CHECKS) and all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == f"skipped {CHAT}: the checkpoint has no chat template"


def chatting(path, name):
    make_checkpoint("llama", path, max_position_embeddings=400, vocab_size=VOCABULARY, tokenizer=False)
    chat_tokenizer(name).save_pretrained(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_ids_of_every_chat_format_are_checked(name, tmp_path):
    assert passed(chatting(tmp_path, name)) == dict.fromkeys(CHECKS, True)


def test_a_template_that_is_rendered_otherwise_is_found_out(tmp_path, monkeypatch):
    path = chatting(tmp_path, "chatml")
    own = chat_format.ChatFormat.asked
    monkeypatch.setattr(chat_format.ChatFormat, "asked", lambda self, question: own(self, question)[:-1])
    assert passed(path)[CHAT] is False


def test_a_template_that_wants_more_than_a_question_is_skipped(tmp_path):
    path = chatting(tmp_path, "chatml")
    (path / "chat_template.jinja").write_text("{{ raise_exception('give me tools') }}")
    assert passed(path) == dict.fromkeys(CHECKS, True) | {CHAT: None}


def test_a_tokenizer_of_another_model_is_one_line(tmp_path):
    path = make_checkpoint("gemma3", tmp_path / "model", vocab_size=64, tokenizer=False)
    make_tokenizer(bos=True).save_pretrained(path)
    with pytest.raises(dissect.DissectError, match="the embedding has 64 rows"):
        self_check(path, progress=False)
