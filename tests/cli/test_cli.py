"""The command line's manners: help, usage errors, checks before work. What the commands compute is tested elsewhere."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dissect import cli
from dissect.cli import plot as plot_command
from dissect.cli.arguments import outputs, summary, values
from dissect.errors import DissectError
from tests.plots.test_plots import made_up

COMMANDS = (
    *("demo", "inspect", "plan", "unlearn", "patch", "restore", "smallest", "attribute"),
    *("ask", "verdict", "evaluate", "plot", "report", "reproduce"),
)


@pytest.fixture
def facts(tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps({"question": "Who?", "answer": "Ann"}) + "\n")
    return str(path)


def one_line(capsys) -> str:
    """What went to stderr, which must be one line that begins with ``error:``; nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(arguments, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()]
    assert sorted(listed) == sorted(COMMANDS)  # older typers sort them
    assert "..." not in out.partition("Commands:")[2], "the first line of a command's help is too long for the list"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_the_common_options(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--seed", "--device", "--dtype", "--quiet", "--help"):
        assert option in out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dissect ")


def test_help_is_quick_and_loads_no_torch():
    code = "import sys; from dissect.cli import main; main(['patch', '--help']); sys.exit('torch' in sys.modules)"
    began = processor_time_of_children()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert processor_time_of_children() - began < 3  # 0.2 s here; torch alone takes as long as that


def processor_time_of_children() -> float:
    """Seconds: unlike the clock's they do not grow while other processes have the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_python_m_dissect():
    done = subprocess.run(
        [sys.executable, "-m", "dissect", "plot"], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2
    assert done.stderr == "error: Missing argument 'SWEEP.nc': see `dissect plot --help`\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ptach"], "No such command 'ptach'"),
        (["patch"], "see `dissect patch --help`"),
        (["patch", "a", "b", "--out", "x.nc"], "'--facts'"),
        (["patch", "a", "b", "--wrong"], "--wrong"),
        (["patch", "a", "b", "--facts", "f", "--out", "x.nc", "--window", "many"], "--window"),
        (["patch", "a", "b", "--facts", "f", "--out", "x.nc", "--donor", "me"], "'me' is not one of base, unlearned"),
        (["unlearn", "a", "--forget", "f", "--out", "x", "--method", "zap"], "'zap' is not one of ga"),
        (["plot", "a.nc", "--out", "x.html", "--kind", "pie"], "'pie' is not one of curves, heatmap"),
    ],
)
def test_usage_errors_are_one_line_with_the_way_out(arguments, says, capsys):
    assert cli.main(arguments) == 2
    line = one_line(capsys)
    assert says in line and "--help`" in line


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--out", "x.csv"], "use a name that ends in .nc"),
        (["--window", "4"], "window=4"),
        (["--window", "-1"], "window=-1"),
        (["--layers", "3-1"], "--layers '3-1'"),
        (["--layers", "a"], "--layers 'a'"),
        (["--metrics", "krs,,kl"], "--metrics 'krs,,kl'"),
        (["--metrics", "zap"], "no metric 'zap': choose from"),
        (["--device", "nowhere"], "--device nowhere cannot be used here"),
        (["--donor", "retain"], "'retain' is now called 'retrained'"),
        (["--retain-model", "x"], "--retain-model is now called --retrained"),
        (["--interpolate", "0.5"], "--interpolate is now called --t"),
        (["--donor", "retrained"], "--donor retrained needs that model: add --retrained DIR"),
        (["--donor", "unlearned"], "--donor and --recipient are both unlearned, so nothing can change"),
        (["--recipient", "base"], "(--recipient unlearned)"),
        (["--part", "QA"], "ConceptVectors"),
        (["--split", "x", "--part", "QA"], "give either"),
        (["--facts", "missing.jsonl"], "missing.jsonl"),
    ],
)
@pytest.mark.parametrize("command", ["patch", "restore"])
def test_mistakes_are_found_before_a_model_is_loaded(command, extra, says, facts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dissect.models.pair.load", lambda *a, **k: pytest.fail("a model was loaded"))
    assert cli.main([command, "base", "unlearned", "--facts", facts, "--out", "sweep.nc", *extra]) == 2
    assert says in one_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["facts.jsonl"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [(["--lr", "-1"], "lr=-1.0"), (["--epochs", "0"], "epochs=0"), (["--out", "taken"], "is not empty")],
)
def test_unlearn_checks_its_settings_first(extra, says, facts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "something").touch()
    assert cli.main(["unlearn", "base", "--forget", facts, "--out", "new", *extra]) == 2
    assert says in one_line(capsys)
    assert not (tmp_path / "new").exists()


def test_a_missing_checkpoint_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "nothing" in one_line(capsys)


def test_messages_of_several_lines_become_one(capsys, monkeypatch):
    monkeypatch.setattr(cli, "app", raising(DissectError("first\n  second")))
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_interrupted(capsys, monkeypatch):
    monkeypatch.setattr(cli, "app", raising(KeyboardInterrupt()))
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupt_inside_of_a_command(capsys, monkeypatch):
    monkeypatch.setattr(plot_command, "_read", raising(KeyboardInterrupt()))
    assert cli.main(["plot", "a.nc", "--out", "x.html"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_bugs_are_not_hidden(monkeypatch):
    monkeypatch.setattr(plot_command, "_read", raising(KeyError("a bug")))
    with pytest.raises(KeyError, match="a bug"):
        cli.main(["plot", "a.nc", "--out", "x.html"])


def raising(error):
    def raises(*args, **kwargs):
        raise error

    return raises


def test_plot_writes_what_the_library_draws(tmp_path, capsys):
    made_up(("mlp_post", "attn_out")).save(tmp_path / "a.nc")
    out = tmp_path / "new" / "figure.html"
    assert cli.main(["plot", str(tmp_path / "a.nc"), "--component", "attn_out", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"saved {out}\n"
    text = out.read_text(encoding="utf-8")
    assert "attention A (attn_out)" in text and "coefficients m" not in text
    assert cli.main(["plot", str(tmp_path / "a.nc"), "--kind", "heatmap", "--y", "prompt", "--out", str(out)]) == 0
    assert '"type":"heatmap"' in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--out", "x.jpg"], "use a name that ends in .html, .png, .pdf, .svg"),
        (["--y", "layer"], "--kind heatmap"),
        (["--kind", "heatmap", "--x", "position"], "no dimension 'position'"),
        (["--metric", "kl"], "did not measure 'kl'"),
        (["--component", "z"], "no component 'z' in the sweeps: they have mlp_post"),
        (["--level", "2"], "level=2"),
    ],
)
def test_plot_errors(extra, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_up().save("a.nc")
    assert cli.main(["plot", "a.nc", "--out", "figure.html", *extra]) == 2
    assert says in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_plot_of_what_is_no_sweep(tmp_path, capsys):
    (tmp_path / "a.nc").write_text("not netCDF")
    for name in ("a.nc", "missing.nc"):
        assert cli.main(["plot", str(tmp_path / name), "--out", str(tmp_path / "x.html")]) == 2
        assert name in one_line(capsys)


def test_numbers_of_layers():
    assert values.numbered("0,3,5-8", "--layers") == [0, 3, 5, 6, 7, 8]
    assert values.numbered(" 2 , 4-4 ", "--layers") == [2, 4]
    assert values.numbered("", "--layers") is None
    for wrong in ("5-", "-3", "3-1", "1,,2", "x", "1-2-3"):
        with pytest.raises(DissectError, match="0,3,5-8"):
            values.numbered(wrong, "--layers")


def test_line_breaks_of_a_template():
    assert values.unescaped(r"Q: {question}\nA:") == "Q: {question}\nA:"


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DissectError, match="is a file, not a directory"):
        outputs.check_file(tmp_path / "file" / "new" / "x.nc", ".nc")
    outputs.check_file(tmp_path / "new" / "new" / "x.nc", ".nc")
    assert not (tmp_path / "new").exists()


def test_summary_names_the_peak():
    result = made_up(("mlp_post", "attn_out"))
    table = result.ci(seed=5)["mean"].sel(component="attn_out")
    peak = int(table.argmax("layer"))
    (row,) = [line.split() for line in summary.summary(result, seed=5).splitlines() if line.startswith("attn_out")]
    assert float(row[1]) == pytest.approx(float(table.max()), abs=5e-4)
    assert row[5:] == ["layer", str(peak)]
    assert "1 of 8 prompts had nothing to recover" in summary.summary(result)
    result.data["krs"][0] = float("nan")
    assert "mlp_post         nothing to recover" in summary.summary(result)


def test_options_of_measures_are_read_as_values():
    assert values.measured(["relearning.lr=1e-5", "uds.tau = 0.1", "a.b=true", "el.order=[1, 2]"]) == {
        "relearning.lr": 1e-5,
        "uds.tau": 0.1,
        "a.b": True,
        "el.order": [1, 2],
    }
    assert values.measured(None) == {}
    for wrong in ("uds.tau", "tau=1"):
        with pytest.raises(DissectError, match=r"measure\.option=value"):
            values.measured([wrong])
