"""Python items of each kind."""

import ctypes
import os
import random
import sys
import time


class Refused(Exception):
    """An exception class of the task's own."""


def square(n):
    return n * n


def odd(n):
    if n % 2 == 1:
        raise Refused(f"{n} is odd")
    return n


def segfault(n):
    if n == 5:
        print("about to read address zero", file=sys.stderr, flush=True)
        ctypes.string_at(0)
    return n


def leaves(n):
    if n == 5:
        os._exit(7)
    return n


def sys_exit(n):
    if n == 5:
        sys.exit("leaving politely")
    return n


def big(n):
    return bytes([97 + n % 26]) * 3_000_000


def words(line):
    return {"words": len(line.split()), "first": line.split()[:1]}


def dice(_n):
    return [random.random(), random.randint(1, 6)]


def unencodable(n):
    return (lambda: n) if n == 1 else n


def pickled(n):
    return complex(n, -n)


def many_kinds(n):
    return [None, True, n, n / 2, "ü" * n, b"raw", {"key": [1, 2, 3]}, 2**60, float("inf")]


def stuck(n):
    while n == 3:
        time.sleep(1000)
    return n


def fraction(n):
    return 1 / (n * n + 1) + (n % 97) * 1e10


def add(left, right):
    return left + right


def chatty(n):
    print(f"item {n} says hello")
    return n
