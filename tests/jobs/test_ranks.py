"""Several processes share a sweep, and what comes out is what one process writes, to the bit."""

import builtins
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dissect
from dissect.distributed import world
from dissect.errors import DissectError
from dissect.jobs.journals import Unfinished
from dissect.jobs.task import Task, deal, dealt, task_of
from dissect.sweep import runner
from dissect.sweep.results.sweep_result import SweepResult
from tests.support.ranks import needs_sharding

ROOT = Path(__file__).parents[2]
ASKED = {
    "patch": (["mlp_post", "attn_out", ("mlp_post", "attn_out")], {"batch_size": 2, "window": 3}),
    "restore": (["mlp.W_out", "attn"], {"batch_size": 2, "window": 1, "metrics": ["krs", "kl"]}),
    "attribute": (["mlp_post", "z"], {"batch_size": 2, "check": 4}),
}


@pytest.fixture(scope="module")
def asked(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)

    def run(kind: str = "patch", **options) -> SweepResult:
        what, how = ASKED[kind]
        return getattr(dissect, kind)(pair, prompts, what, progress=False, **{**how, **options})

    return run


def only_file(out: Path) -> bool:
    return sorted(out.parent.iterdir()) == [out]


def dies_at(monkeypatch, number: int) -> None:
    """The process ends, without a word, when it comes to its cell of that number."""
    computed: list[int] = []
    original = runner._Run._measured

    def counting(self, *arguments):
        if len(computed) == number:
            os._exit(9)
        computed.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(runner._Run, "_measured", counting)


@pytest.mark.parametrize(("kind", "count"), [("patch", 2), ("patch", 4), ("restore", 3), ("attribute", 3)])
def test_ranks_write_what_one_process_writes_and_all_return_it(kind, count, asked, as_ranks, tmp_path):
    out = tmp_path / "sweep.nc"
    single = asked(kind, out=tmp_path / "one" / "sweep.nc")

    def rank(number: int) -> None:
        assert asked(kind, out=out).data.identical(single.data)

    assert as_ranks(count, rank) == [0] * count
    assert SweepResult.load(out).data.identical(single.data)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "sweep.nc"}
    assert asked(kind).data.identical(single.data)


def test_more_ranks_than_cells_and_one_that_comes_late(asked, as_ranks, tmp_path):
    out = tmp_path / "sweep.nc"
    whole = asked(batch_size=8, layers=[1])

    def rank(number: int) -> None:
        assert asked(out=out, batch_size=8, layers=[1]).data.identical(whole.data)

    assert as_ranks(5, rank, late=4) == [0] * 5
    assert only_file(out)


def test_rank_zero_may_have_nothing_left_to_do_when_another_comes(asked, as_ranks, tmp_path, monkeypatch):
    """All cells stand in the journals of an earlier run: the first rank must not leave without the last."""
    out = tmp_path / "sweep.nc"

    def stopped(number: int) -> None:
        monkeypatch.setattr("dissect.jobs.journals.Journals.finish", lambda *_: os._exit(0))
        asked(out=out)

    assert as_ranks(2, stopped) == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.nc.partial", "sweep.nc.partial-1"]

    def rank(number: int) -> None:
        dies_at(monkeypatch, 0)  # nothing is computed again
        assert asked(out=out).data.sizes["prompt"] == 3

    assert as_ranks(2, rank, late=1) == [0, 0]
    assert only_file(out)


@pytest.mark.parametrize("then", [1, 3])
def test_a_killed_rank_s_cells_are_all_that_is_left_for_the_next_run(then, asked, as_ranks, tmp_path, monkeypatch):
    out, whole = tmp_path / "sweep.nc", asked()

    def rank(number: int) -> None:
        os.environ["DISSECT_TIMEOUT"] = "1"
        if number == 1:
            dies_at(monkeypatch, 2)
        with pytest.raises(DissectError, match=r"rank 0 has waited for 1 s .* missing are results of rank 1 \(\d+\)"):
            asked(out=out)

    began = time.monotonic()
    assert as_ranks(2, rank) == [0, 9]
    assert time.monotonic() - began < 120 and not out.exists()

    there = sum(json.loads(line).get("row", 0) >= 2 for path in tmp_path.iterdir() for line in path.open())
    log = tmp_path.with_name(f"{tmp_path.name}.log")

    def rest(number: int) -> None:
        original = runner._Run._measured

        def noted(*arguments):
            with log.open("a") as file:
                file.write("cell\n")
            return original(*arguments)

        monkeypatch.setattr(runner._Run, "_measured", noted)
        assert asked(out=out).data.identical(whole.data)

    assert as_ranks(then, rest) == [0] * then
    assert 2 < there < 18 and log.read_text().count("cell") == 18 - there  # two batches of nine cells
    assert only_file(out)


@pytest.mark.parametrize("kind", list(ASKED))
def test_tasks_of_a_job_array_run_one_after_the_other(kind, asked, tmp_path):
    out, whole = tmp_path / "sweep.nc", asked(kind)
    with pytest.raises(Unfinished, match=r"task 2/2 has done its part .* results are missing, of task 1/2 \(\d+\)"):
        asked(kind, out=out, task="2/2")
    assert not out.exists()
    assert asked(kind, out=out, task="1/2").data.identical(whole.data)
    assert SweepResult.load(out).data.identical(whole.data) and only_file(out)
    with pytest.raises(DissectError, match="exists: choose another name"):
        asked(kind, out=out, task="2/2")


def test_without_a_task_the_same_call_does_what_the_tasks_did_not(asked, tmp_path, monkeypatch):
    out, whole = tmp_path / "sweep.nc", asked()
    with pytest.raises(Unfinished):
        asked(out=out, task="1/2")
    counted: list[int] = []
    original = runner._Run._measured
    monkeypatch.setattr(runner._Run, "_measured", lambda *a: counted.append(1) or original(*a))
    assert asked(out=out).data.identical(whole.data)
    assert 0 < len(counted) < 18 and only_file(out)


def test_a_task_of_another_count_goes_on_with_what_is_there(asked, tmp_path):
    out, whole = tmp_path / "sweep.nc", asked()
    with pytest.raises(Unfinished):
        asked(out=out, task="2/3")
    with pytest.raises(Unfinished):
        asked(out=out, task="1/2")
    assert asked(out=out, task="2/2").data.identical(whole.data)
    assert only_file(out)


def test_two_processes_with_one_task_do_not_write_into_one_journal(asked, as_ranks, tmp_path, monkeypatch):
    out = tmp_path / "sweep.nc"
    with pytest.raises(Unfinished):
        asked(out=out, task="1/2")
    with (tmp_path / "sweep.nc.partial-1").open() as file:
        from dissect.locks import lock

        assert lock(file)
        with pytest.raises(DissectError, match=r"another process is working on .*partial-1"):
            asked(out=out, task="1/2")
        with pytest.raises(DissectError, match=r"another process is working on .*partial-1"):
            asked(out=out)  # which would do that one's cells


def test_which_cells_share_a_pass_does_not_depend_on_who_runs_them(asked, as_ranks, tmp_path, monkeypatch):
    """Rows of one batch round differently from rows alone: so groups are formed before they are dealt."""
    seen: list[tuple[int, ...]] = []
    original = runner._Run._groups

    def noted(self, block, batch):
        for group in original(self, block, batch):
            seen.append((batch.index, *(index for index, _ in group)))
            yield group

    monkeypatch.setattr(runner._Run, "_groups", noted)
    whole = asked(cells_per_pass=4)
    groups, seen[:] = sorted(seen), []
    out = tmp_path / "sweep.nc"
    for number in (1, 2, 3):
        try:
            result = asked(cells_per_pass=4, out=out, task=f"{number}/3")
        except Unfinished:
            continue
    assert sorted(seen) == groups and max(map(len, groups)) == 5
    assert result.data.identical(whole.data)


def test_an_interrupted_group_is_run_again_as_a_whole(asked, tmp_path, monkeypatch):
    out, whole = tmp_path / "sweep.nc", asked(cells_per_pass=3)
    with pytest.raises(Unfinished):
        asked(cells_per_pass=3, out=out, task="1/2")
    journal = tmp_path / "sweep.nc.partial-1"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    assert asked(cells_per_pass=3, out=out).data.identical(whole.data)


@pytest.mark.parametrize("task", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", ""])
def test_tasks_that_do_not_exist(task):
    with pytest.raises(DissectError, match="give number/count, such as 3/8"):
        task_of(task)


def test_a_task_needs_a_file(asked):
    with pytest.raises(DissectError, match="say where with out="):
        asked(task="1/2")


def test_tasks_and_ranks(monkeypatch):
    assert task_of() == Task() and task_of("3/8") == Task(2, 8)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    assert task_of() == Task(1, 4, together=True) and not task_of().merges
    both = task_of("3/8")  # each task of the array has four ranks
    assert (both.number, both.count, both.together, both.name) == (9, 32, False, "task 3/8 (rank 1)")
    assert dealt("abcdefghij", Task(1, 4)) == ["b", "f", "j"]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("batches", [[60], [64, 64, 64, 10], [100] * 31])
def test_dealing_gives_everyone_as_much(count, batches):
    layers = 12
    units = [1.0 + layers - max(layer - 2, 0) for _ in range(3) for layer in range(layers)]
    owners = deal(batches, units, count)
    load = [0.0] * count
    for size, whose in zip(batches, owners, strict=True):
        assert len(whose) == len(units)
        for owner, cost in zip(whose, units, strict=True):
            load[owner] += size * cost
    fair, largest = sum(load) / count, max(batches) * max(units)
    assert max(load) <= fair + largest
    begun = [sum(owner in whose for whose in owners) for owner in range(count)]
    assert max(begun) <= len(batches) // count + 2  # batches are cut at the ends of a run only


def test_one_process_touches_no_process_group(asked, tmp_path, monkeypatch):
    asking: list[str] = []
    original = builtins.__import__

    def noted(name, namespace=None, *rest):
        if name.startswith("torch.distributed") and (namespace or {}).get("__name__", "").startswith("dissect"):
            asking.append(namespace["__name__"])
        return original(name, namespace, *rest)

    monkeypatch.setattr(builtins, "__import__", noted)
    asked(out=tmp_path / "sweep.nc")
    assert world().size == 1 and not asking


def torchrun(script: Path, count: int, *arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@needs_sharding
def test_torchrun_from_the_command_line(tiny_pair, facts, tmp_path):
    """Several commands in one job, because starting takes longest; the last one on sharded models."""
    facts.write(tmp_path / "facts.jsonl")
    common = [*map(str, tiny_pair("llama")), "--facts", str(tmp_path / "facts.jsonl"), "--batch-size", "2"]
    base, unlearned = map(str, tiny_pair("llama"))
    asked = ["evaluate", unlearned, "--base", base, "--forget", common[3], "--measures", "exact_match"]
    told = ["report", base, unlearned, "--forget", common[3], "--steps", "drift", "--measures", "exact_match"]
    script = tmp_path / "commands.py"
    script.write_text(
        "import sys\n"
        "from dissect.cli import main\n"
        f"for command in {list(ASKED)}:\n"
        f"    main([command, *{common}, '--out', f'{{sys.argv[1]}}/{{command}}.nc']) == 0 or sys.exit(1)\n"
        f"main({asked} + ['--out', f'{{sys.argv[1]}}/evaluation.json']) == 0 or sys.exit(1)\n"
        f"main({told} + ['--out', f'{{sys.argv[1]}}/report.html']) == 0 or sys.exit(1)\n"
        f"sys.exit(main(['patch', *{common}, '--out', f'{{sys.argv[1]}}/sharded.nc', '--shard']))\n"
    )
    done = torchrun(script, 2, str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved ") == 6 and done.stdout.count("rank agreement") == 1
    names = {f"{kind}.nc" for kind in (*ASKED, "sharded")}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names | {
        "evaluation.json",
        "report.html",
        "report.html.results",
    }
    from dissect.cli import main

    for kind in ASKED:
        assert main([kind, *common, "--out", str(tmp_path / "one" / f"{kind}.nc"), "--quiet"]) == 0
        one, two = (SweepResult.load(tmp_path / where / f"{kind}.nc") for where in ("one", "two"))
        assert one.data.identical(two.data)
    sharded, whole = (SweepResult.load(tmp_path / "two" / f"{name}.nc").data for name in ("sharded", "patch"))
    assert sharded.identical(whole)


def test_sharding_needs_ranks_and_training_of_ranks_needs_sharding(tiny_pair, facts, tmp_path, capsys, monkeypatch):
    facts.write(tmp_path / "facts.jsonl")
    base, unlearned = map(str, tiny_pair("llama"))
    from dissect.cli import main

    asked = ["--facts", str(tmp_path / "facts.jsonl"), "--out", str(tmp_path / "sweep.nc")]
    assert main(["patch", base, unlearned, *asked, "--shard"]) == 2
    assert capsys.readouterr().err.startswith("error: --shard needs several processes: torchrun")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["unlearn", base, "--forget", asked[1], "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith("error (rank 1): 2 processes can only train one model together")


def test_torchrun_ends_when_a_rank_dies_and_the_next_run_goes_on(tiny_pair, facts, tmp_path):
    facts.write(tmp_path / "facts.jsonl")
    out = tmp_path / "sweep.nc"
    arguments = ["patch", *map(str, tiny_pair("llama")), "--facts", str(tmp_path / "facts.jsonl"), "--out", str(out)]
    script = tmp_path / "dying.py"
    script.write_text(
        "import os, sys\n"
        "from dissect.cli import main\n"
        "from dissect.sweep import runner\n"
        "original, count = runner._Run._measured, [0]\n"
        "def dying(*arguments):\n"
        "    count[0] += 1\n"
        "    if os.environ['RANK'] == '1' and count[0] == 3: os._exit(9)\n"
        "    return original(*arguments)\n"
        "runner._Run._measured = dying\n"
        f"sys.exit(main({arguments}))\n"
    )
    done = torchrun(script, 2)  # DISSECT_TIMEOUT is ten minutes: it is not what ends this
    assert done.returncode != 0 and not out.exists()
    rows = [json.loads(line).get("row", 0) for line in (tmp_path / "sweep.nc.partial-1").open()]
    assert sum(row >= 2 for row in rows) == 2
    from dissect.cli import main

    assert main([*arguments, "--quiet"]) == 0
    assert main([*arguments[:-1], str(tmp_path / "one.nc"), "--quiet"]) == 0
    assert SweepResult.load(out).data.identical(SweepResult.load(tmp_path / "one.nc").data)
    assert not list(tmp_path.glob("*.partial*"))
