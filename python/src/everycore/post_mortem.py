"""pdb where a task raised, on the terminal: what `--pdb` of `job replay` and `map --inline` asks for."""

import bdb
import pdb
import signal
import traceback


def hear_interrupts():
    """A worker ignores Ctrl-C. With a person at the terminal it shows where the task hangs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def examine(error):
    """Until the person leaves the debugger; the error goes its way afterwards."""
    frames = error.__traceback__.tb_next or error.__traceback__  # the user's frames, without the host's call
    traceback.print_exception(type(error), error, frames)
    debugger = pdb.Pdb()
    debugger.reset()
    try:
        debugger.interaction(None, frames)
    except (bdb.BdbQuit, KeyboardInterrupt):
        pass
