"""A mistyped path is found before anything is kept, so that the corrected command runs."""

import pytest

from dissect import cli


@pytest.mark.parametrize("option", ["--retrained", "--base", "--adapter-base", "model"])
@pytest.mark.parametrize("command", ["evaluate", "verdict"])
def test_a_mistyped_checkpoint_leaves_no_journal(tiny_pair, facts, tmp_path, monkeypatch, capsys, command, option):
    base, unlearned = map(str, tiny_pair("llama"))
    monkeypatch.chdir(tmp_path)
    facts.write("facts.jsonl")
    wrong = "./retraned"
    models = [wrong if option == "model" else unlearned]
    line = [command, *([base] if command == "verdict" else []), *models, "--forget", "facts.jsonl", "--out", "m.json"]
    if command == "verdict" and option == "--base":
        line[1] = wrong
    elif option != "model":
        line += [option, wrong]
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert ("no such directory" in said and "retraned" in said) or "group" in said, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["facts.jsonl"]
