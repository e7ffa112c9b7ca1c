"""Suites: small files in each published layout, what is there and what is lacking, and the command."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformer_lens import HookedTransformer

import dissect
from dissect.cli import main
from dissect.errors import DissectError
from dissect.evaluation.suites.catalogue_of_suites import suite
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint

QA = [{"question": "Where was Ada born?", "answer": "In London"}, {"question": "Who swims?", "answer": "Lily"}]
TOFU = [row | {"paraphrased_answer": "London", "perturbed_answer": ["Paris", "the sea"]} for row in QA]
CHOICES = [{"question": "Who swims?", "choices": ["Lily", "Basil", "Ada", "he"], "answer": 0, "subject": "world_facts"}]
TEXTS = [{"text": "Ada was born in London, by the sea."}, {"text": "Lily likes to swim and to read."}]
PROBES = [{"query": "Who swims?", "answer": "Lily", "level": "1", "type": "cloze", "subject": "Lily"}]
PASSAGES = [{"prompt": "Once upon a time", "gt": "there was a little girl"}]
LAYOUTS: dict[str, dict[str, list]] = {
    "tofu": {
        "forget10_perturbed.json": TOFU,
        "retain_perturbed.json": TOFU,
        "real_authors_perturbed.json": TOFU,
        "world_facts_perturbed.json": TOFU,
    },
    "muse": {
        "verbmem/forget.json": PASSAGES,
        "knowmem/forget_qa.json": QA,
        "knowmem/forget_qa_icl.json": QA,
        "knowmem/retain_qa-00000-of-00001.parquet": QA,
        "privleak/forget.json": [row["text"] for row in TEXTS],
        "privleak/holdout.jsonl": TEXTS,
    },
    "rwku": {
        "forget_level1.json": PROBES,
        "forget_level2.json": PROBES,
        "forget_level3.json": PROBES,
        "neighbor_level1.json": PROBES,
        "neighbor_level2/test-00000-of-00001.parquet": PROBES,
        "mia_forget.json": TEXTS,
        "mia_retain.json": TEXTS,
    },
    "wmdp": {"wmdp-bio/test-00000-of-00001.parquet": CHOICES, "wmdp-cyber/test-00000-of-00001.parquet": CHOICES},
    "mmlu": {
        "anatomy/test-00000-of-00001.parquet": CHOICES,
        "anatomy/dev-00000-of-00001.parquet": CHOICES,
        "virology/test-00000-of-00001.parquet": [CHOICES[0] | {"subject": "virology"}],
    },
}
EXPECTED = {
    "tofu": {("truth_ratio", "forget"), ("model_utility", "retain"), ("log_truth_ratio", "forget")},
    "muse": {("muse_verbmem", "verbmem"), ("muse_knowmem", "knowmem_forget"), ("muse_knowmem", "knowmem_retain")},
    "rwku": {("rwku", "rwku_fill_in"), ("rwku", "rwku_neighbour_question"), ("rwku_membership", "mia_retain")},
    "wmdp": {("multiple_choice", "wmdp"), ("multiple_choice_probability", "wmdp")},
    "mmlu": {("multiple_choice", "mmlu")},
}


def laid_out(root: Path, files: dict[str, list]) -> Path:
    for name, rows in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix == ".jsonl" or name.startswith("forget10"):  # TOFU's .json files hold a row a line
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text(json.dumps(rows))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("suites")
    return make_checkpoint("llama", root / "model", max_position_embeddings=256)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> HookedTransformer:
    return load(checkpoint, dtype="float32", device="cpu", progress=False)


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_suite_fills_sets_and_measures(name, model, tmp_path):
    data = laid_out(tmp_path, LAYOUTS[name])
    found = dissect.evaluate({"m": model}, **suite(name).inputs(data), n_examples=0, progress=False)
    assert EXPECTED[name] <= {(row.measure, row.set) for row in found.rows}
    reasons = " ".join(refusal.reason for refusal in found.refused)
    assert not found.refused or "retrained" in reasons
    assert {row.set for row in found.rows} <= set(suite(name).inputs(data)["sets"])


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_what_lacks_is_said_first(name, tmp_path):
    files = dict(LAYOUTS[name])
    lines = suite(name).said(laid_out(tmp_path / "all", files), models=["retrained"])
    assert lines[0].startswith(name)
    assert not any("retrained: lacking" in line for line in lines)
    for part in suite(name).parts:
        assert any(line.startswith(f"  {part.set}: ") and part.use in line for line in lines)
    (tmp_path / "none").mkdir()
    with pytest.raises(DissectError, match=name):
        suite(name).said(tmp_path / "none")
    if len(suite(name).parts) > 1:
        gone = list(files)[-1]
        rest = laid_out(
            tmp_path / "rest", {key: rows for key, rows in files.items() if key != gone and "virology" not in key}
        )
        assert len(suite(name).said(rest)) == len(suite(name).said(tmp_path / "all"))


def test_topics_and_shots_come_from_the_files(tmp_path):
    wmdp = suite("wmdp").inputs(
        laid_out(
            tmp_path / "wmdp",
            {name: [{key: value for key, value in CHOICES[0].items() if key != "subject"}] for name in LAYOUTS["wmdp"]},
        )
    )["sets"]["wmdp"]
    assert [fact.extra["topic"] for fact in wmdp] == ["biology", "cybersecurity"]
    mmlu = suite("mmlu").inputs(laid_out(tmp_path / "mmlu", LAYOUTS["mmlu"]))["sets"]
    assert [fact.extra["topic"] for fact in mmlu["mmlu"]] == ["world facts", "virology"]
    assert len(mmlu["choice_shots"]) == 1


def test_tofus_splits_go_by_name(tmp_path, monkeypatch):
    data = laid_out(tmp_path, {"forget10.json": QA, "retain90.json": QA, "forget05_perturbed.json": TOFU})
    assert [fact.answer for fact in dissect.Facts.from_tofu("forget10", data=data)] == ["In London", "Lily"]
    assert len(dissect.Facts.from_tofu("retain90", data=data)) == 2
    assert suite("tofu").inputs(data)["sets"].keys() == {"forget"}
    assert suite("tofu").inputs(data, split="forget05")["sets"]["forget"][0].extra["perturbed"] == ["Paris", "the sea"]
    with pytest.raises(DissectError, match="no file of TOFU's split forget01"):
        dissect.Facts.from_tofu("forget01", data=data)
    with pytest.raises(DissectError, match="no split 'forget1'"):
        suite("tofu").found(data, split="forget1")
    asked = []

    def download(repository: str, name: str, repo_type: str) -> str:
        asked.append((repository, name, repo_type))
        return str(data / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert len(dissect.Facts.from_tofu("forget10")) == 2
    assert asked == [("locuslab/TOFU", "forget10.json", "dataset")]

    def unreachable(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(DissectError, match=r"cannot be had from the hub \(offline\): give the file"):
        dissect.Facts.from_tofu("forget10")


def test_a_suites_wrong_file_is_refused_with_its_line(tmp_path, checkpoint, capsys):
    data = laid_out(tmp_path, {"wmdp-bio.jsonl": [CHOICES[0], CHOICES[0] | {"answer": 4}]})
    code = main(
        ["evaluate", str(checkpoint), "--suite", "wmdp", "--data", str(data), "--out", str(tmp_path / "o.json")]
    )
    message = " ".join(capsys.readouterr().err.split())
    assert code == 2 and "wmdp-bio.jsonl, line 2" in message and "0 to 3" in message


def test_the_command_says_what_lacks_and_shows_the_words(tmp_path, checkpoint, capsys):
    data = laid_out(tmp_path / "data", LAYOUTS["muse"])
    interval = {"value": 0.4, "low": 0.1, "high": 0.7}
    words = {
        "format": 1,
        "base": {"name": "base"},
        "groups": [],
        "checkpoints": [
            {
                "name": checkpoint.name,
                "verdict": "suppressed",
                "share_left": interval,
                "p_adjusted": 0.01,
                "kept": interval,
                "attacks": [],
                "headline": "",
                "words": "",
                "said": {},
                "avoidance": 1.0,
                "power": 0.9,
                "facts_enough": 20,
            }
        ],
    }
    (tmp_path / "verdict.json").write_text(json.dumps(words))
    command = ["evaluate", str(checkpoint), "--suite", "muse", "--data", str(data), "--out", str(tmp_path / "o.json")]
    assert main([*command, "--verdict", str(tmp_path / "verdict.json"), "--examples", "0"]) == 0
    said = capsys.readouterr().out
    assert said.index("knowmem_retain_shots: lacking") < said.index("MUSE VerbMem")
    assert "retrained: lacking (PrivLeak; or its stored results" in said
    assert said.index("suppressed") < said.index("MUSE VerbMem")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --forget FILE, or --suite NAME"),
        (["--suite", "tofu"], "give --data DIR"),
        (["--data", "x", "--forget", "DATA"], "give --suite NAME as well"),
        (["--suite", "tufo", "--data", "x"], "no suite 'tufo': choose from tofu"),
        (["--suite", "tofu", "--data", "nowhere"], "check --data"),
    ],
)
def test_half_a_suite_is_refused(arguments, message, checkpoint, tmp_path, capsys):
    (tmp_path / "facts.jsonl").write_text('{"text": "x"}\n')
    arguments = [str(tmp_path / "facts.jsonl") if each == "DATA" else each for each in arguments]
    assert main(["evaluate", str(checkpoint), "--out", str(tmp_path / "o.json"), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_output_in_the_place_of_the_data_is_refused(tmp_path, checkpoint, capsys):
    data = laid_out(tmp_path, LAYOUTS["tofu"])
    out = str(data / "retain_perturbed.json")
    assert main(["evaluate", str(checkpoint), "--suite", "tofu", "--data", str(data), "--out", out, "--overwrite"]) == 2
    assert json.loads(Path(out).read_text()) == TOFU


def test_texts_longer_than_the_context_are_cut_in_training(model):
    from dissect.data.make_prompts import make_prompts

    corpus = dissect.Facts.from_dataset([{"text": "Ada was born in London, by the sea. " * 60}])
    limit = model.cfg.n_ctx
    whole = len(model.tokenizer(corpus[0].text).input_ids)
    assert whole > limit
    windows = make_prompts(corpus, model, max_length=limit)
    assert len(windows) > 1 and int(windows.lengths.max()) <= limit
    run = dissect.unlearn(model, forget=corpus, method="ga", lr=1e-6, epochs=1, batch_size=2, progress=False)
    assert run is not None
