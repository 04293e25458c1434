"""Patterns of files, as a shell reads them: `*` `?` `[a-z]` within a name, `**` for any folders.

Twin of packages/protocol/src/file-patterns.ts, which says what they mean; python/tests and the hosts' tests hold both
against the same examples. By hand: `re` alone costs a host 5 ms of its start.
"""


def matcher(patterns):
    """A function that tells of a path, its names as a list, whether it or a folder above it matches."""
    known = [segments_of(pattern) for pattern in patterns]
    return lambda names: any(matches_from(segments, 0, names, 0) for segments in known)


def segments_of(pattern):
    segments = []
    for segment in pattern.split("/"):
        if segment in ("", ".") or (segment == "**" and segments[-1:] == ["**"]):
            continue
        segments.append(segment if segment == "**" else tokens_of(segment))
    return segments


def tokens_of(segment):
    tokens, at = [], 0
    while at < len(segment):
        character = segment[at]
        at += 1
        if character in "*?":
            tokens.append((character, None))
            continue
        end = segment.find("]", at + (2 if segment[at : at + 1] in ("!", "^") else 1)) if character == "[" else -1
        if end < 0:
            tokens.append(("is", character))
            continue
        negates = segment[at] in "!^"
        tokens.append(("not in" if negates else "in", ranges_of(segment[at + negates : end])))
        at = end + 1
    return tokens


def ranges_of(text):
    ranges, at = [], 0
    while at < len(text):
        if at + 2 < len(text) and text[at + 1] == "-":
            ranges.append((text[at], text[at + 2]))
            at += 3
        else:
            ranges.append((text[at], text[at]))
            at += 1
    return ranges


def matches_from(segments, at, names, name_at):
    if at == len(segments):
        return True
    if name_at == len(names):
        return False
    segment = segments[at]
    if segment != "**":
        return matches_name(segment, names[name_at]) and matches_from(segments, at + 1, names, name_at + 1)
    if at + 1 == len(segments):
        return not names[name_at].startswith(".")
    while True:
        if matches_from(segments, at + 1, names, name_at):
            return True
        if name_at == len(names) or names[name_at].startswith("."):
            return False
        name_at += 1


def matches_name(tokens, name):
    if name.startswith(".") and tokens[0] != ("is", "."):
        return False
    at, name_at, star, star_at = 0, 0, -1, 0
    while name_at < len(name):
        if at < len(tokens) and tokens[at][0] == "*":
            star, star_at = at, name_at
            at += 1
        elif at < len(tokens) and matches_character(tokens[at], name[name_at]):
            at += 1
            name_at += 1
        elif star >= 0:
            star_at += 1
            at, name_at = star + 1, star_at
        else:
            return False
    return all(kind == "*" for kind, _ in tokens[at:])


def matches_character(token, character):
    kind, what = token
    if kind == "?":
        return True
    if kind == "is":
        return character == what
    return any(low <= character <= high for low, high in what) == (kind == "in")
