/**
 * Files that items give back (`run --output PATTERN`), written into DIR/INDEX/NAME: a folder for each item, named by
 * its index, so that no two items can write the same file. Names come from nodes, which may lie:
 *
 *  V1  a name that leads out of the item's folder is refused, and so is a way through a link;
 *  V2  a file appears whole, by rename, or not at all; a link that stands in its place is replaced, not followed.
 */
import {
  accessSync,
  chmodSync,
  constants,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Outcome } from "@everycore/client/internal";
import type { OutcomeList } from "@everycore/client/internal";
import { codecs, decodeProgramValue, EverycoreError, isFileName, outcomeStatus } from "@everycore/protocol";
import type { ReturnedFiles } from "@everycore/protocol";

/** What the outcome of a program that returns files would be without them. */
export function withoutFiles(outcome: Outcome): Outcome {
  if (!outcome.isValue || outcome.codec !== "msgpack") return outcome;
  return printedBy(outcome, decodeProgramValue(outcome.payload).stdout);
}

function printedBy(
  { index, micros, node }: Outcome,
  { buffer, byteOffset, byteLength }: Uint8Array,
): Outcome {
  const payload = Buffer.from(buffer, byteOffset, byteLength);
  return new Outcome({ index, status: outcomeStatus.value, codec: codecs.raw, micros, payload, node });
}

export class ReturnedFileWriter {
  readonly #folder: string;
  #items = 0;
  #written = 0;
  #refused = 0;

  /** Makes the folder, so that one that cannot be is said before anything runs. */
  constructor(folder: string) {
    this.#folder = folder;
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === false)
      throw new EverycoreError("bad-input", `--output-dir ${folder} is no folder`);
    try {
      mkdirSync(folder, { recursive: true });
      accessSync(folder, constants.W_OK | constants.X_OK);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new EverycoreError("bad-input", `--output-dir ${folder} cannot be written (${code ?? message})`, {
        cause: error,
      });
    }
  }

  /** Files that were not written. */
  get refused(): number {
    return this.#refused;
  }

  /** Writes what the outcomes bring; the same outcomes, as they would be of programs that return nothing. */
  take(outcomes: OutcomeList): OutcomeList {
    return outcomes.map((outcome) => this.#takeOne(outcome));
  }

  /** What was done, for people. */
  get summary(): string {
    const refused = this.#refused === 0 ? "" : `; ${this.#refused} refused`;
    if (this.#written === 0) return `no file came back: no item returned one that matches --output${refused}`;
    const files = this.#written === 1 ? "1 file" : `${this.#written} files`;
    const items = this.#items === 1 ? "1 item" : `${this.#items} items`;
    return `${files} of ${items} written: ${this.#folder}/INDEX/NAME${refused}`;
  }

  #takeOne(outcome: Outcome): Outcome {
    const { index } = outcome;
    if (outcome.codec === "error") {
      const { files = {}, executable = [] } = outcome.error();
      this.#write(index, { files, executable });
    }
    if (!outcome.isValue || outcome.codec !== "msgpack") return outcome;
    const value = this.#decode(outcome);
    if (value === undefined) return outcome;
    this.#write(index, value);
    return printedBy(outcome, value.stdout);
  }

  #decode({ index, payload }: Outcome): ReturnType<typeof decodeProgramValue> | undefined {
    try {
      return decodeProgramValue(payload);
    } catch (error) {
      this.#refused += 1;
      const why = error instanceof Error ? error.message : String(error);
      process.stderr.write(`item ${index}: its files cannot be read: ${why}\n`);
      return undefined;
    }
  }

  #write(index: number, { files, executable }: ReturnedFiles): void {
    const before = this.#written;
    const programs = new Set(executable);
    for (const [name, bytes] of Object.entries(files)) {
      const refusal = isFileName(name) ? this.#obstacle(index, name) : "it leads out of its folder";
      if (refusal === undefined) {
        this.#writeOne(index, { name, bytes, isProgram: programs.has(name) });
        this.#written += 1;
      } else {
        this.#refused += 1;
        process.stderr.write(
          `item ${index}: its file ${JSON.stringify(name.slice(0, 200))} was not written: ${refusal}\n`,
        );
      }
    }
    if (this.#written > before) this.#items += 1;
  }

  /** V1. Makes the folders on the way. */
  #obstacle(index: number, name: string): string | undefined {
    const way = [String(index), ...name.split("/").slice(0, -1)];
    let at = this.#folder;
    for (const step of way) {
      at = join(at, step);
      const info = lstatSync(at, { throwIfNoEntry: false });
      if (info === undefined) makeFolder(at);
      else if (!info.isDirectory()) return `${at} is no folder`;
    }
    const target = lstatSync(join(at, name.split("/").at(-1)!), { throwIfNoEntry: false });
    return target?.isDirectory() === true ? `${join(at, name)} is a folder` : undefined;
  }

  /** V2. */
  #writeOne(index: number, file: { name: string; bytes: Uint8Array; isProgram: boolean }): void {
    const path = join(this.#folder, String(index), file.name);
    const fresh = join(dirname(path), `.everycore-${process.pid}.new`);
    try {
      writeFileSync(fresh, file.bytes);
      if (file.isProgram) chmodSync(fresh, statSync(fresh).mode | 0o111);
      renameSync(fresh, path);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw unwritable(path, error);
    }
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    throw unwritable(path, error);
  }
}

/** `conflict`, not `bad-input`: the job is sound, and goes on where its cluster does. */
function unwritable(path: string, error: unknown): EverycoreError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new EverycoreError("conflict", `${path} cannot be written (${code ?? message})`, {
    hint: "a job of a cluster that stays keeps its files: everycore job results ID --output-dir DIR",
    cause: error,
  });
}
