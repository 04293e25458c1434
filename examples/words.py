"""A Python task: one line of text in, its number of words out."""


def count(line):
    return len(line.split())
