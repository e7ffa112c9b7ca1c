"""What is said of a checkpoint without torch: the same as what the loaded model would say."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from safetensors import safe_open
from transformer_lens.components.abstract_attention import AbstractAttention
from transformer_lens.utilities.activation_functions import SUPPORTED_ACTIVATIONS
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

import dissect
from dissect.cli.inspect import describe, describe_loaded
from dissect.errors import DissectError
from dissect.models import dtypes, layout
from dissect.models.accounting import DTYPE_BYTES
from dissect.models.build import build_empty
from dissect.models.families import FAMILIES, find_family, hooked_config, transformers_config
from dissect.models.families.family import ACTIVATIONS
from dissect.models.files.description import described_by_files
from dissect.models.files.headers import read_headers
from dissect.models.running.attention import can_fuse
from dissect.patching.sites import available, sites_of
from tests.support.layouts import OLD_OLMO, make_old_olmo, make_whole_gemma3
from tests.support.tiny import ARCHITECTURES, make_checkpoint, make_model
from tests.support.tiny import FAMILIES as TINY

SILENT = """
import sys
from dissect.cli import main
assert main(sys.argv[1:]) == 0
loaded = {"torch", "transformers", "transformer_lens", "xarray", "pandas"} & set(sys.modules)
assert not loaded, loaded
import transformers  # and it is the whole library, with torch, where it is wanted after all
assert transformers.LlamaForCausalLM and transformers.is_torch_available()
"""


def config_of(architecture):
    if architecture == "old_olmo":
        return OLD_OLMO
    config = make_model(architecture).config.to_dict()
    return config | {"architectures": [type(make_model(architecture)).__name__]}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "old_olmo"])
def test_the_layout_is_that_of_the_model_that_would_be_made(architecture):
    config = config_of(architecture)
    family = find_family(config)
    native = transformers_config(family, config)
    model = build_empty(family, hooked_config(family, native, device="cpu"), tied=bool(native.tie_word_embeddings))
    described = layout.layout_of(family, native)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert described.stored | described.constants == shapes and not described.stored.keys() & described.constants.keys()
    assert all(layout.constant_of(family, name) is not None for name in described.constants)
    assert described.fused == can_fuse(model.blocks[0].attn)
    assert described.buffers == sum({buffer.data_ptr(): buffer.nbytes for buffer in model.buffers()}.values())
    assert sites_of(parallel=bool(described.settings.get("parallel_attn_mlp"))) == available(model)


def test_what_the_arithmetic_takes_from_elsewhere_is_still_there():
    assert layout.ROTARY_POSITIONS == AbstractAttention.ROTARY_INITIAL_CACHE_SIZE
    assert set(layout.POST_NORM) == POST_NORM_ARCHITECTURES & {family.architecture for family in FAMILIES}
    assert set(ACTIVATIONS) == SUPPORTED_ACTIVATIONS.keys() - {"solu", "solu_ln", "xielu"}
    assert {name: dtype.itemsize for name, dtype in dtypes.DTYPES.items()} == DTYPE_BYTES


@pytest.mark.parametrize("architecture", [*TINY, "old_olmo", "whole_gemma3"])
def test_the_files_say_what_the_loaded_model_says(architecture, tmp_path):
    if architecture == "old_olmo":
        make_old_olmo(tmp_path)
    elif architecture == "whole_gemma3":
        make_whole_gemma3(tmp_path)
    else:
        make_checkpoint(architecture, tmp_path, max_shard_size="20KB", dtype=torch.bfloat16)
    model = dissect.load(tmp_path, device="cpu", progress=False)
    said = describe_loaded(model).splitlines()
    lines = describe(str(tmp_path), described_by_files(tmp_path)).splitlines()
    own = ("fingerprint", "tokenizer ")
    assert without(lines, own) == without(said, own) and len(lines) == len(said) - 1
    if type(model.tokenizer).__name__ == "TokenizersBackend":  # the others add tokens of their own
        assert any(f"tokenizer.json, {len(model.tokenizer)} tokens" in line for line in lines)


def without(lines, starts):
    return [line for line in lines if not line.lstrip().startswith(starts)]


@pytest.mark.parametrize(
    "changes", [{}, {"add_bos_token": False}, {"add_bos_token": True}, {"chat_template": "{{ 1 }}"}]
)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_tokenizer_is_that_of_transformers(architecture, changes, tmp_path):
    make_checkpoint(architecture, tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    said = describe_loaded(dissect.load(tmp_path, device="cpu", progress=False))
    description = described_by_files(tmp_path)
    assert description.tokenizer.partition(", ")[2] in said
    assert description.chat_template == ("chat_template" in changes) == ("ask with --chat" in said)


def test_a_configuration_alone_is_enough(tmp_path):
    path = make_checkpoint("gemma2", tmp_path / "whole")
    whole = described_by_files(path)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(path / "config.json", alone)
    description = described_by_files(alone)
    assert (description.weights, description.tokenizer) == ("no weights here", "none")
    assert description.layout == whole.layout


@pytest.mark.parametrize("command", ["plan", "inspect"])
def test_neither_torch_nor_transformers_is_imported(command, tmp_path):
    """A description that waits for torch takes five times as long: what is asserted is the mechanism, not the time."""
    path = make_checkpoint("gemma3", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SILENT, command, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Gemma3ForCausalLM" in done.stdout and done.stderr == ""


def test_the_old_layout_needs_no_torch_either(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(OLD_OLMO))
    done = subprocess.run(
        [sys.executable, "-c", SILENT, "plan", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_headers_are_those_that_safetensors_reads(tmp_path):
    file = make_checkpoint("llama", tmp_path, dtype=torch.float16) / "model.safetensors"
    headers = read_headers([file])
    with safe_open(file, framework="pt") as theirs:
        assert {name: tuple(theirs.get_slice(name).get_shape()) for name in theirs.keys()} == headers.shapes  # noqa: SIM118
    assert set(headers.dtypes.values()) == {"float16"}


def cut(content: bytes) -> bytes:
    return content[:-7]


def longer(content: bytes) -> bytes:
    return content + b"more"


def no_header(content: bytes) -> bytes:
    return b"\xff" * 64


@pytest.mark.parametrize("damage", [cut, longer, no_header])
def test_damaged_files_are_one_line(damage, tmp_path):
    file = make_checkpoint("llama", tmp_path) / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DissectError, match=r"model\.safetensors cannot be read"):
        described_by_files(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intermediate_size": 44}, "has shape"),
        ({"num_hidden_layers": 4}, r"lack model\.layers\.3"),
        ({"num_hidden_layers": 2}, r"hold model\.layers\.2.*does not have"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"hidden_act": "xielu"}, "the activation 'xielu'"),
        ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, "mixture of experts"),
    ],
)
def test_what_could_not_be_loaded_is_not_described(change, said, tmp_path):
    path = make_checkpoint("llama", tmp_path)
    config = json.loads((path / "config.json").read_text()) | change
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DissectError, match=said):
        described_by_files(tmp_path)
    with pytest.raises(DissectError, match=said):
        dissect.load(tmp_path, device="cpu", progress=False)


def test_transformers_is_left_alone_where_it_is_there():
    from dissect.models.auto_config import auto_config, configurations_alone

    with configurations_alone():
        assert auto_config() is transformers.AutoConfig
