"""What a job needs, from a configuration alone; how near it is to what is measured: benchmarks/plan.py."""

import json
from dataclasses import replace

import pytest
import torch

import dissect
from dissect.attacks.attack import available
from dissect.attacks.training_budget import STEPS, TRAINING
from dissect.cli import main
from dissect.cli.plan import command, n_bytes
from dissect.errors import DissectError
from dissect.models.parameters import in_checkpoint, layer_block_parameters
from dissect.models.sizes import sizes_of
from dissect.planning.job import Job
from dissect.planning.panel_work import panel_work
from dissect.planning.plan import fitting, plan
from dissect.planning.training_memory import kept_for_backward, n_trained
from dissect.sweep.cache import CacheOptions
from dissect.sweep.donor import Donor
from dissect.sweep.sweep import Options, donor_bytes
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.parameters.masters import LowRank
from dissect.unlearning.parameters.trainable import masters
from tests.support.tiny import ARCHITECTURES, make_checkpoint

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}


@pytest.fixture(scope="module")
def llama():
    return sizes_of(LLAMA)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_are_those_of_the_loaded_model(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path, tokenizer=False)
    sizes = sizes_of(json.loads((path / "config.json").read_text()))
    model = dissect.load(path, device="cpu", progress=False)
    stored = {name: model.get_parameter(name).numel() for name in in_checkpoint(model)}
    assert sizes.parameters == stored
    assert sizes.n_parameters + sizes.constants == sum(parameter.numel() for parameter in model.parameters())
    cfg = model.cfg
    assert (sizes.n_layers, sizes.d_model, sizes.d_mlp, sizes.d_vocab) == (
        cfg.n_layers,
        cfg.d_model,
        cfg.d_mlp,
        cfg.d_vocab,
    )
    layer = [n for name, n in stored.items() if name.startswith("blocks.1.")]
    assert sizes.n_layer == sum(layer) and sizes.n_outside + 3 * sum(layer) == sizes.n_parameters
    for block in ("mlp.W_out", "attn.W_K"):
        names = [name for each in range(3) for name in layer_block_parameters(model, block, each)]
        assert sizes.of_block(block) == sum(stored[name] for name in names)
    held = {buffer.data_ptr(): buffer.nbytes for buffer in model.buffers()}
    assert sizes.buffers == sum(held.values())


def test_published_sizes(llama):
    assert llama.n_parameters == 8_030_261_248  # Llama 3.1 8B, as its card has it: 8.03 billion
    assert llama.of_block("mlp.W_out") == 32 * 4096 * 14336


def test_the_cache_is_what_a_sweep_says_that_it_keeps(tiny_pair, facts):
    model = dissect.load(tiny_pair("llama")[0], device="cpu", progress=False)
    prompts = facts.prompts(model.tokenizer)
    donor = Donor(model, CacheOptions())
    donor.want(f"blocks.{layer}.{name}" for layer in range(3) for name in ("mlp.hook_post", "hook_attn_out"))
    length, scored = prompts.tokens.shape[1], int(prompts.answer_lengths.sum())
    sizes = sizes_of(model.checkpoint.config)
    cache = plan(sizes, Job(length=length, n_facts=3, batch_size=3, answer=1)).held["donor's cache"]
    per_position = 4 * (sizes.d_vocab + sizes.d_model)
    assert cache - 3 * per_position == donor_bytes(donor, prompts, Options()) - scored * per_position


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"blocks": ("mlp.W_out", "attn.W_V"), "lora_rank": 3}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_moments_and_masters_are_those_of_the_trainer(settings, dtype, tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], dtype=dtype, device="cpu", progress=False)
    sizes, job = sizes_of(model.checkpoint.config), Job(train=True, dtype=dtype, **settings)
    made = masters(model, TrainConfig(**settings))
    leaves = [leaf for master in made for leaf in master.leaves.values()]
    found = plan(sizes, job).held
    assert found["AdamW's moments"] == 2 * sum(leaf.nbytes for leaf in leaves)
    own = sum(leaf.nbytes for leaf in leaves if not isinstance(leaf, torch.nn.Parameter))
    own += sum(master._before.nbytes for master in made if isinstance(master, LowRank))
    assert found["masters"] == own
    assert n_trained(sizes, job) == sum(model.get_parameter(master.name).numel() for master in made)


def test_what_the_backward_pass_keeps_is_what_autograd_saves(tiny_pair, facts):
    """A layer's activations by the arithmetic against the tensors that autograd really holds on to."""
    from dissect.models.running.forward import embed
    from dissect.models.running.partial import run_block

    for architecture in ("llama", "neox", "gpt2"):
        model = dissect.load(tiny_pair(architecture)[0], device="cpu", progress=False)
        sizes, tokens = sizes_of(model.checkpoint.config), torch.zeros(8, 60, dtype=torch.long)
        parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor, parameters=parameters, saved=saved):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        residual = embed(model, tokens).detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            after = run_block(model.blocks[0], residual)
        job = Job(train=True, batch_size=8, length=60, answer=10)
        predicted = tokens.numel() * 4 * kept_for_backward(sizes, job)
        assert after.requires_grad and 0.85 < predicted / sum(saved.values()) < 1.15, architecture


def test_plans_by_hand(llama):
    n = llama.n_parameters
    training = plan(llama, Job(train=True, batch_size=8, gpu=True))
    assert training.held["AdamW's moments"] == 8 * n and training.held["weights"] == 4 * (n + llama.constants)
    assert training.passing["backward"] > 4 * n
    narrow = plan(llama, Job(train=True, dtype="bfloat16", gpu=True, batch_size=8))
    assert narrow.held["masters"] == 4 * n and narrow.held["AdamW's moments"] == 8 * n
    in_place = plan(llama, Job(train=True, dtype="bfloat16", bf16_inplace=True, gpu=True, batch_size=8))
    assert in_place.held["masters"] == 0 and in_place.held["AdamW's moments"] == 4 * n
    sweep = plan(llama, Job(dtype="bfloat16", gpu=True))
    assert sweep.held["weights"] == 2 * 2 * (n + llama.constants)
    one = plan(llama, Job(dtype="bfloat16", gpu=True, sequential=True))
    assert one.held["weights"] * 2 == sweep.held["weights"]
    assert one.held["donor's cache"] == 13 * sweep.held["donor's cache"]  # 400 facts in batches of 32
    quarter = plan(llama, Job(train=True, dtype="bfloat16", gpu=True, batch_size=8), ranks=4)
    assert quarter.held["weights"] == 4 * (n + llama.constants) // 4 and quarter.held["masters"] == 0
    live = Job(train=True, method="npo", reference="live", gpu=True)
    assert plan(llama, live).held["reference"] == 4 * (n + llama.constants)
    assert plan(llama, replace(live, reference="stored")).held["reference"] == 0


def test_an_attack_that_trains_keeps_the_weights_as_they_were(llama):
    training = Job(train=True, method="learn", dtype="bfloat16", gpu=True, batch_size=16)
    for job in (training, replace(training, lora_rank=8)):
        plain, panel = plan(llama, job), plan(llama, replace(job, panel=True))
        assert panel.peak - plain.peak == 2 * n_trained(llama, job)
    attacks = {name for name, attack in available().items() if attack.trains}
    assert attacks == set(TRAINING)
    assert all(available()[name].budget["steps"] == STEPS for name in attacks)


def test_the_work_of_a_panel(llama):
    work = panel_work(
        llama, Job(train=True, panel=True, batch_size=16, length=100, answer=10, n_facts=80), trainings=10, steps=50
    )
    assert work.tokens_trained == 10 * 50 * 16 * 100 and work.tokens_read == 25 * 80 * (90 + 20 * 10)
    assert work.operations == llama.n_parameters * (6 * work.tokens_trained + 2 * work.tokens_read)


def test_gradient_checkpointing_and_small_batches_take_less(llama):
    job = Job(train=True, gpu=True, batch_size=32, length=512)
    moments = [plan(llama, one).passing["forward and loss"] for one in (job, replace(job, gradient_checkpointing=True))]
    assert moments[1] < moments[0] / 2
    assert plan(llama, replace(job, batch_size=8)).peak < plan(llama, job).peak


def test_how_many_gpus(llama):
    sweep, train = Job(dtype="bfloat16", gpu=True), Job(train=True, dtype="bfloat16", gpu=True, batch_size=8)
    assert fitting(llama, sweep, 80 * 10**9) == (sweep, 1)  # two models of 16 GB
    assert fitting(llama, sweep, 40 * 10**9) == (sweep, 2)  # the cache of all 400 facts takes more than a model
    few = replace(sweep, n_facts=32)
    assert fitting(llama, few, 40 * 10**9) == (replace(few, sequential=True), 1)
    assert fitting(llama, train, 80 * 10**9) == (train, 2)  # 16 bytes a parameter: 128 GB
    assert fitting(llama, train, 40 * 10**9) == (train, 8)
    assert fitting(llama, replace(train, lora_rank=8), 80 * 10**9) == (replace(train, lora_rank=8), 1)
    assert fitting(llama, train, 10**9) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dtype": "auto"}, "choose from float32, bfloat16"),
        ({"method": "zap"}, "choose from ga"),
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"length": 32}, "answer=32: it is a part of the text"),
        ({"train": True, "dtype": "float16"}, "cannot be trained"),
    ],
)
def test_jobs_that_make_no_sense(settings, says):
    with pytest.raises(DissectError, match=says):
        Job(**settings)


def test_a_block_that_the_model_does_not_have(llama):
    with pytest.raises(DissectError, match="LlamaForCausalLM has no such matrix"):
        plan(llama, Job(train=True, blocks=("mlp.W_zap",)))


@pytest.mark.parametrize(("text", "size"), [("80GB", 80e9), ("24 gib", 24 * 2**30), ("1.5TB", 1.5e12)])
def test_memory_as_people_write_it(text, size):
    assert n_bytes(text) == size


@pytest.mark.parametrize("text", ["80", "GB", "80 apples", "0GB", "-1GB"])
def test_memory_that_is_none(text):
    with pytest.raises(DissectError, match=r"must be a size, e\.g\. 80GB"):
        n_bytes(text)


def test_the_command_reads_config_json_and_nothing_else(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    asked = ["plan", str(tmp_path), "--train", "--gpu-memory", "80GB", "--dtype", "bfloat16"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "8,030,261,248 parameters" in said and "fits into 2 GPUs of 80 GB" in said and "each of 2" in said
    assert said.splitlines()[-1] == (
        f"torchrun --nproc-per-node 2 -m dissect unlearn {tmp_path} --forget FACTS.jsonl --out DIR --method ga "
        "--dtype bfloat16 --batch-size 8 --epochs 5 --shard"
    )
    assert main(["plan", str(tmp_path), "--gpu-memory", "40GB", "--dtype", "bfloat16", "--facts", "32"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("--dtype bfloat16 --batch-size 32 --sequential")
    assert main([*asked[:3], "--gpu-memory", "1GB"]) == 0
    assert "does not fit into GPUs of 1 GB" in capsys.readouterr().out
    assert main(["plan", str(tmp_path)]) == 0
    assert "fits" not in (said := capsys.readouterr().out) and said.splitlines()[-1].startswith("dissect patch ")
    assert main(["plan", str(tmp_path / "none")]) == 2
    capsys.readouterr()
    panel = ["plan", str(tmp_path), "--verdict", "--dtype", "bfloat16", "--gpu-memory", "80GB"]
    assert main(panel) == 0
    assert "attacks that train everything" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith(
        "does not fit into one GPU of 80 GB: train adapters instead (--lora-rank 8), or --dtype bfloat16"
    )
    assert main([*panel, "--lora-rank", "8"]) == 0
    said = capsys.readouterr().out
    assert "fits into 1 GPU of 80 GB" in said and "operations" in said
    assert said.rstrip().endswith("--option relearn_others_with_kept.lora_rank=8 --dtype bfloat16")


def test_the_commands_that_are_suggested_exist(llama, capsys):
    for job, ranks in (
        (Job(dtype="bfloat16"), 4),
        (Job(sequential=True), 1),
        (Job(train=True, lora_rank=4, blocks=("attn.W_Q",), gradient_checkpointing=True, reference="live"), 2),
        (Job(train=True, dtype="bfloat16", bf16_inplace=True, method="undial"), 1),
        (Job(train=True, panel=True, lora_rank=8), 1),
    ):
        words = command("BASE", job, ranks).split()
        words = words[words.index("dissect") + 1 :]
        assert main([words[0], "--help"]) == 0
        helped = capsys.readouterr().out
        assert all(word in helped for word in words if word.startswith("--"))
