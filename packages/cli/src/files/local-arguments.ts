/**
 * Arguments that name files of this machine in a job for others: the most frequent mistake of a first day with a
 * cluster. Nobody here knows what the nodes have, so this is a remark, once, and never a refusal; what every system
 * has (/usr, /dev, ...) is not remarked on.
 */
import { existsSync } from "node:fs";
import { relative, resolve, sep } from "node:path";
import { argumentsOf, hasPlaceholder } from "@everycore/protocol";
import type { ItemSource } from "@everycore/client/internal";

const everywhere =
  /^\/((bin|dev|etc|lib|lib32|lib64|nix|proc|sbin|sys|usr)(\/|$)|(home|opt|run|srv|tmp|var|var\/tmp)?\/?$)/;

export interface LocalArguments {
  readonly argv: readonly string[];
  readonly folder: string;
  /** Names of what travels with the job. */
  readonly shipped: ReadonlySet<string>;
}

/** Says so of the first argument that names such a file: now, or when the first item is known. */
export class LocalArgumentRemark {
  readonly #options: LocalArguments;
  #isMade = false;

  constructor(options: LocalArguments) {
    this.#options = options;
    this.#remark(options.argv.filter((part, at) => !hasPlaceholder(part) && !isOnPath(part, at)));
  }

  /** The same items; the first is looked at as the programs will see it. */
  async *watch(source: ItemSource): ItemSource {
    let isFirst = true;
    for await (const items of source) {
      const first = items[0];
      if (isFirst && first !== undefined) {
        isFirst = false;
        const text = Buffer.from(first.buffer, first.byteOffset, first.byteLength).toString("utf8");
        const { argv } = this.#options;
        const whole = argumentsOf(argv, { text, index: 0 });
        this.#remark(whole.filter((part, at) => hasPlaceholder(argv[at] ?? "{}") && !isOnPath(part, at)));
      }
      yield items;
    }
  }

  #remark(parts: readonly string[]): void {
    if (this.#isMade) return;
    const name = parts.map((part) => localFile(part, this.#options)).find((part) => part !== undefined);
    if (name === undefined) return;
    this.#isMade = true;
    process.stderr.write(`${remarkOn(name, this.#options)}\n`);
  }
}

/** As a shell takes it for one word. */
const quoted = (name: string): string =>
  /^[\w./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;

/** A program without a slash is looked for on PATH, whatever stands here. */
const isOnPath = (part: string, at: number): boolean => at === 0 && !part.includes("/");

function remarkOn(name: string, { folder, shipped }: LocalArguments): string {
  const here = relative(folder, resolve(folder, name));
  if (covers(shipped, here)) return `note: ${name} is shipped, and stands on the nodes as ${here}`;
  const outside = here === ".." || here.startsWith(`..${sep}`);
  const how = outside
    ? "from a folder above it, ship it with --files"
    : `ship it with --files ${quoted(here)}`;
  return `note: ${name} is a file of this machine; programs on other nodes may not find it: ${how}`;
}

/** The part of an argument that names a file here which would not be there: itself, or what follows `=`. */
export function localFile(part: string, { folder, shipped }: LocalArguments): string | undefined {
  const candidates = [part, part.slice(part.indexOf("=") + 1)];
  return candidates.find((text) => {
    if (text === "" || text === "." || text === ".." || text.startsWith("-") || text.includes("\0"))
      return false;
    if (everywhere.test(text) || !existsSync(resolve(folder, text))) return false;
    // By its name from here it is found in the programs' folder, by a name from the root it is not.
    return text.startsWith("/") || !covers(shipped, relative(folder, resolve(folder, text)));
  });
}

const covers = (shipped: ReadonlySet<string>, name: string): boolean =>
  shipped.has(name) || [...shipped].some((file) => file.startsWith(`${name}/`));
