"""Reductions in the fixed binary tree of spans, as in the TypeScript host: the same bytes for any slicing."""

from collections import namedtuple

from . import values

Partial = namedtuple("Partial", "start level missing none value")


def join(left, right, combine):
    missing = left.missing + right.missing
    if left.none:
        return Partial(left.start, left.level + 1, missing, right.none, right.value)
    if right.none:
        return Partial(left.start, left.level + 1, missing, False, left.value)
    return Partial(left.start, left.level + 1, missing, False, combine(left.value, right.value))


class PartialStack:
    def __init__(self, combine):
        self.partials = []
        self._combine = combine

    def push(self, node):
        partials = self.partials
        while partials:
            left = partials[-1]
            size = 2**node.level
            if left.level != node.level or left.start % (2 * size) != 0 or left.start + size != node.start:
                break
            partials.pop()
            node = join(left, node, self._combine)
        partials.append(node)


def combine_all(partials, combine):
    """The whole tree over spans in order; what is missing after them is none."""
    stack = PartialStack(combine)
    for partial in partials:
        stack.push(partial)
    if not stack.partials:
        return None
    node = stack.partials.pop()
    while stack.partials:
        left = stack.partials.pop()
        node = join(left, node._replace(level=left.level), combine)
    return node


def parse(entry):
    """u64 start | u8 level | u32 missing | u8 codec | bytes."""
    start = int.from_bytes(entry[:8], "little")
    level = entry[8]
    missing = int.from_bytes(entry[9:13], "little")
    none = missing == 2**level
    value = None if none else values.decode(entry[13], entry[14:])
    return Partial(start, level, missing, none, value)
