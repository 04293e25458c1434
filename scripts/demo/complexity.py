"""The task of `npm run demo -- --python`: cyclomatic complexity of every function of a Python source file.

An item is a path. The value is [lines, functions, [[complexity, name, line, tokens], ...]] with the most complex
functions first, or a string that says why the file cannot be parsed: the standard library's tests hold broken files on purpose.

Run as a program it does the same for the paths on stdin, one after the other, and prints a JSON list: the check.
"""

import ast
import io
import itertools
import json
import sys
import tokenize
import warnings

KEPT = 20

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)
LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def measure(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old files are none of our business
            with tokenize.open(path) as file:
                source = file.read()
            tree = ast.parse(source, path)
            before = tokens_before(source)
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError, tokenize.TokenError) as error:
        return type(error).__name__
    found = []
    collect(tree, "", found)
    found.sort(key=lambda entry: (-entry[0], entry[2], entry[1]))
    kept = [[*entry[:3], before[entry[3]] - before[entry[2] - 1]] for entry in found[:KEPT]]
    return [source.count("\n"), len(found), kept]


def tokens_before(source):
    """For each line how many tokens start in it or above: how long a function is, whatever its comments and layout."""
    starts = [0] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            starts[token.start[0]] += 1
    return list(itertools.accumulate(starts))


def collect(node, prefix, found):
    """Functions below `node`, each with its dotted name. Without recursion into expressions: they hold no `def`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            name = prefix + child.name
            found.append([complexity(child), name, child.lineno, child.end_lineno])
            collect(child, name + ".", found)
        elif isinstance(child, ast.ClassDef):
            collect(child, prefix + child.name + ".", found)
        elif not isinstance(child, ast.expr):
            collect(child, prefix, found)


def complexity(function):
    """One, and one more for each way the function's own code can branch. Inner functions count for themselves."""
    total = 1
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, BRANCHES):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
        elif isinstance(node, ast.Match):
            total += len(node.cases)
        elif isinstance(node, FUNCTIONS):
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return total


if __name__ == "__main__":
    json.dump([measure(line.rstrip("\n")) for line in sys.stdin], sys.stdout)
