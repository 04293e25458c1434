/**
 * `run --files PATTERN`: files of this machine, as one bundle that each node fetches once. Named by what they hold and
 * whether they can be executed, so that the same files are the same bundle whenever and by whom they are shipped.
 * They stand on the nodes as they stand here, seen from the folder the command runs in; hence nothing outside of it.
 */
import type { Stats } from "node:fs";
import { globSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { makeBundle } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { EverycoreError, isFileName, limits } from "@everycore/protocol";
import { bytesText } from "../terminal/table.ts";

export interface ShippedFiles {
  readonly bundle: Bundle;
  /** Paths from the command's folder, and which of them can be executed. */
  readonly names: ReadonlySet<string>;
  readonly executable: ReadonlySet<string>;
}

/** The files that the patterns name; `folder` is where the command runs. Throws `bad-input` or `over-limit`. */
export function shipFiles(patterns: readonly string[], folder: string): ShippedFiles {
  const collected = new Collected(folder);
  for (const pattern of patterns) {
    const before = collected.files.size;
    const matches = matchesOf(pattern, folder);
    for (const match of matches) collected.add(match);
    if (matches.length === 0)
      throw new EverycoreError("bad-input", `--files "${pattern}" matches nothing in ${folder}`, {
        hint: "patterns are read from the folder that the command runs in; names with a leading dot need one in the pattern",
      });
    if (collected.files.size === before && !matches.some((match) => collected.has(match)))
      throw new EverycoreError("bad-input", `--files "${pattern}" matches only folders without files`);
  }
  const contents = new Map<string, Uint8Array>();
  for (const [name, place] of collected.files) contents.set(name, readOrRefuse(name, place));
  const bundle = makeBundle(contents, "", collected.executable);
  return { bundle, names: new Set(contents.keys()), executable: collected.executable };
}

/** A name that is there is itself, whatever characters it has: shells have replaced patterns by such names. */
function matchesOf(pattern: string, folder: string): string[] {
  if (pattern === "") throw new EverycoreError("bad-input", "--files names nothing");
  if (statSync(resolve(folder, pattern), { throwIfNoEntry: false }) !== undefined) return [pattern];
  // `**` names the folder itself too, which would bring what begins with a dot.
  return globSync(pattern, { cwd: folder }).filter((match) => match !== "." && match !== "");
}

class Collected {
  /** Where each lies, by its name on the nodes. */
  readonly files = new Map<string, string>();
  readonly executable = new Set<string>();
  readonly #folder: string;
  readonly #root: string;
  #bytes = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#root = realpathSync(folder);
  }

  /** The file, or a file of the folder, is collected already: patterns may overlap. */
  has(match: string): boolean {
    const name = relative(this.#folder, resolve(this.#folder, match));
    return [...this.files.keys()].some((file) => file === name || file.startsWith(`${name}/`));
  }

  add(match: string): void {
    const place = resolve(this.#folder, match);
    const name = relative(this.#folder, place);
    if (name === ".." || name.startsWith(`..${sep}`) || isAbsolute(name))
      throw new EverycoreError(
        "bad-input",
        `--files: ${match} is outside of ${this.#folder}, and would have no place in the programs' folder`,
        { hint: "start the command in a folder above all that it ships, or copy it there" },
      );
    this.#take(name, place, []);
  }

  /** `above`: the real folders that lead here, against links in a circle. */
  #take(name: string, place: string, above: readonly string[]): void {
    const { real, info } = this.#follow(name, place);
    if (info.isFile()) this.#takeFile(name, real, info);
    else if (info.isDirectory()) {
      if (above.includes(real)) return;
      for (const entry of entriesOf(name, real))
        this.#take(name === "" ? entry : `${name}/${entry}`, join(real, entry), [...above, real]);
    } else throw new EverycoreError("bad-input", `--files: ${name} is neither a file nor a folder`);
  }

  #follow(name: string, place: string): { real: string; info: Stats } {
    let real: string;
    let info: Stats;
    try {
      real = realpathSync(place);
      info = statSync(real);
    } catch (error) {
      throw unreadable(name, error);
    }
    if (real === this.#root || real.startsWith(this.#root + sep) || this.#root === sep) return { real, info };
    throw new EverycoreError("bad-input", `--files: ${name} is a link that leads out of ${this.#folder}`, {
      hint: `it leads to ${real}; put a copy in its place`,
    });
  }

  #takeFile(name: string, real: string, info: Stats): void {
    if (this.files.has(name)) return;
    if (!isFileName(name))
      throw new EverycoreError("bad-input", `--files: ${name} is no name that can travel`);
    this.files.set(name, real);
    if ((info.mode & 0o111) !== 0) this.executable.add(name);
    this.#bytes += info.size;
    if (this.files.size > limits.shippedFilesMax)
      throw new EverycoreError(
        "over-limit",
        `--files names more than ${limits.shippedFilesMax} files (shippedFilesMax)`,
        { hint: "pack them into an archive that the program opens, or name fewer" },
      );
    if (this.#bytes > limits.bundleBytesMax)
      throw new EverycoreError(
        "over-limit",
        `--files names more than ${bytesText(limits.bundleBytesMax)} (bundleBytesMax)`,
        { hint: "ship less, or put it where the nodes can read it" },
      );
  }
}

function entriesOf(name: string, folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch (error) {
    throw unreadable(name, error);
  }
}

function readOrRefuse(name: string, place: string): Buffer {
  try {
    return readFileSync(place);
  } catch (error) {
    throw unreadable(name, error);
  }
}

function unreadable(name: string, error: unknown): EverycoreError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new EverycoreError("bad-input", `--files: ${name} cannot be read (${code ?? message})`, {
    cause: error,
  });
}
