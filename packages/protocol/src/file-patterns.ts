/**
 * Patterns of files, as a shell reads them, and names of files that may travel (pure).
 *
 * Within a name `*` is any text, `?` any character, `[a-z]` one of them, `[!a-z]` another; `**` stands for any folders.
 * A name that begins with a dot is matched only by a dot. What matches as a folder brings all that is below it.
 * Python's twin is python/src/everycore/file_patterns.py: a worker of either kind must find the same files (P6), and
 * regular expressions of the two languages differ. Hence by hand.
 */

type Token =
  | { readonly kind: "*" | "?" }
  | { readonly kind: "is"; readonly character: string }
  | {
      readonly kind: "set";
      readonly negates: boolean;
      readonly ranges: readonly (readonly [number, number])[];
    };
type Segment = "**" | readonly Token[];

/** A function that tells of a path whether it or a folder above it matches one of the patterns. */
export function fileMatcher(patterns: readonly string[]): (path: string) => boolean {
  const known = patterns.map(segmentsOf);
  return (path) => {
    const names = path.split("/");
    return known.some((segments) => matchesFrom(segments, 0, names, 0));
  };
}

/** Why a pattern is none; undefined when it is fine. */
export function patternFault(pattern: string): string | undefined {
  if (pattern === "") return "is empty";
  if (pattern.length > 1_000) return "is longer than 1000 characters";
  if (pattern.includes("\0")) return "has a null byte";
  if (pattern.startsWith("/")) return "is an absolute path";
  return pattern.split("/").includes("..") ? "leads out of the folder" : undefined;
}

/** A relative path that stays below its folder, written in one way only. Whoever writes files of others asks first. */
export const isFileName = (path: string): boolean =>
  path.length <= 4_000 &&
  !path.includes("\0") &&
  path.split("/").every((name) => name !== "" && name !== "." && name !== ".." && name.length <= 255);

function segmentsOf(pattern: string): Segment[] {
  const segments: Segment[] = [];
  for (const segment of pattern.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "**") segments.push(tokensOf(segment));
    else if (segments.at(-1) !== "**") segments.push("**");
  }
  return segments;
}

function tokensOf(segment: string): Token[] {
  const characters = Array.from(segment);
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at]!;
    if (character === "*" || character === "?") {
      tokens.push({ kind: character });
      continue;
    }
    const negates = characters[at + 1] === "!" || characters[at + 1] === "^";
    const from = at + (negates ? 2 : 1);
    // A ] that stands first is one of the characters.
    const end = character === "[" ? characters.indexOf("]", from + 1) : -1;
    if (end < 0) {
      tokens.push({ kind: "is", character });
      continue;
    }
    tokens.push({ kind: "set", negates, ranges: rangesOf(characters.slice(from, end)) });
    at = end;
  }
  return tokens;
}

function rangesOf(characters: readonly string[]): [number, number][] {
  const ranges: [number, number][] = [];
  for (let at = 0; at < characters.length; at += 1) {
    const low = characters[at]!.codePointAt(0)!;
    const isRange = at + 2 < characters.length && characters[at + 1] === "-";
    ranges.push([low, isRange ? characters[at + 2]!.codePointAt(0)! : low]);
    if (isRange) at += 2;
  }
  return ranges;
}

function matchesFrom(
  segments: readonly Segment[],
  at: number,
  names: readonly string[],
  nameAt: number,
): boolean {
  const segment = segments[at];
  if (segment === undefined) return true; // the path, or a folder above it
  const name = names[nameAt];
  if (name === undefined) return false;
  if (segment !== "**") return matchesName(segment, name) && matchesFrom(segments, at + 1, names, nameAt + 1);
  if (at + 1 === segments.length) return !name.startsWith(".");
  for (let next = nameAt; ; next += 1) {
    if (matchesFrom(segments, at + 1, names, next)) return true;
    if (names[next]?.startsWith(".") ?? true) return false;
  }
}

function matchesName(tokens: readonly Token[], name: string): boolean {
  const first = tokens[0]!;
  if (name.startsWith(".") && !(first.kind === "is" && first.character === ".")) return false;
  const characters = Array.from(name);
  let at = 0;
  let star = -1;
  let starAt = 0;
  for (let nameAt = 0; nameAt < characters.length;) {
    const token = tokens[at];
    if (token?.kind === "*") {
      star = at;
      starAt = nameAt;
      at += 1;
    } else if (token !== undefined && matchesCharacter(token, characters[nameAt]!)) {
      at += 1;
      nameAt += 1;
    } else if (star >= 0) {
      starAt += 1;
      at = star + 1;
      nameAt = starAt;
    } else return false;
  }
  return tokens.slice(at).every(({ kind }) => kind === "*");
}

function matchesCharacter(token: Token, character: string): boolean {
  if (token.kind === "is") return token.character === character;
  if (token.kind !== "set") return true;
  const code = character.codePointAt(0)!;
  return token.ranges.some(([low, high]) => low <= code && code <= high) !== token.negates;
}
