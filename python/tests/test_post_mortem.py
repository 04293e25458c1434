"""The debugger of `--pdb`: on the terminal, at the user's frame, and gone when its person leaves."""

import io
import sys

from everycore import post_mortem
from everycore.worker_host import PythonRunner


def asked(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def raising(depth):
    if depth == 0:
        raise KeyError("deep")
    raising(depth - 1)


def test_it_stands_where_the_error_was_raised_and_shows_no_frame_of_the_host(monkeypatch, capsys):
    asked(monkeypatch, "p depth\nup\np depth\nq\n")
    try:
        raising(2)
    except KeyError as error:
        post_mortem.examine(error)
    out, err = capsys.readouterr()
    assert out.split("(Pdb) ")[1].strip() == "0"
    assert out.split("(Pdb) ")[3].strip() == "1"
    assert "KeyError: 'deep'" in err
    assert "test_it_stands" not in err


def test_the_end_of_the_terminal_leaves_it(monkeypatch, capsys):
    asked(monkeypatch, "")
    try:
        raising(0)
    except KeyError as error:
        post_mortem.examine(error)
    assert "(Pdb)" in capsys.readouterr().out


class Watcher:
    def __init__(self):
        self.seen = []

    def hear_interrupts(self):
        self.seen.append("interrupts")

    def examine(self, error):
        self.seen.append(repr(error))


def test_a_runner_shows_each_error_once_and_gives_it_as_an_outcome_all_the_same():
    watcher = Watcher()
    runner = PythonRunner(watcher)
    assert runner.load({"scratch": ".", "dir": "/nowhere", "entry": "no_such_module", "export": "f"}) is not None
    runner.task = {"seed": "0" * 16, "rangeStart": 0, "retries": 0}
    runner.function = lambda item: raising(item)
    assert runner.outcome(lambda index: 0, 0)[0] == 1
    assert watcher.seen == [
        "interrupts",
        "ModuleNotFoundError(\"No module named 'no_such_module'\")",
        "KeyError('deep')",
    ]
