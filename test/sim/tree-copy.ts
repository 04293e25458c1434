/** A copy of the tree in which files may be broken: sources and tests copied, dependencies linked, gone at the end. */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { stripVTControlCharacters } from "node:util";

const repository = join(import.meta.dirname, "../..");
/** What checks read. Bundles, benchmarks and documents are not. */
const copied = [
  "package.json",
  "tsconfig.json",
  "vitest.config.ts",
  "packages",
  "proto",
  "python",
  "scripts",
  "test",
];
/** Packages of this repository are found in the copy, all others where they are installed. */
const own = new Set(["@everycore", "everycore"]);
/** A check that takes longer hangs: a broken rule that never ends is noticed by that. */
const checkMs = 600_000;

export interface Check {
  readonly title: string;
  /** Of node, in the copy. */
  readonly args: readonly string[];
}

export interface Verdict {
  readonly isRed: boolean;
  /** What turned red, or that it did not end. */
  readonly what: string;
}

export class TreeCopy {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  static async several(count: number): Promise<{ readonly list: readonly TreeCopy[] } & AsyncDisposable> {
    const list: TreeCopy[] = [];
    const removeAll = async (): Promise<void> => {
      for (const { root } of list) rmSync(root, { recursive: true, force: true });
    };
    try {
      for (let at = 0; at < count; at += 1) {
        const copy = new TreeCopy(mkdtempSync(join(tmpdir(), "everycore-mutate-")));
        list.push(copy);
        copy.#fill();
      }
    } catch (error) {
      await removeAll();
      throw error;
    }
    return { list, [Symbol.asyncDispose]: removeAll };
  }

  #fill(): void {
    for (const name of copied) {
      cpSync(join(repository, name), join(this.root, name), {
        recursive: true,
        filter: (path) => basename(path) !== "node_modules" && basename(path) !== "__pycache__",
      });
    }
    if (existsSync(join(repository, ".venv")))
      symlinkSync(join(repository, ".venv"), join(this.root, ".venv"));
    const modules = join(this.root, "node_modules");
    const installed = join(repository, "node_modules");
    mkdirSync(modules);
    for (const name of readdirSync(installed)) {
      if (!own.has(name)) symlinkSync(join(installed, name), join(modules, name));
    }
    mkdirSync(join(modules, "@everycore"));
    for (const name of readdirSync(join(installed, "@everycore")))
      symlinkSync(join(this.root, "packages", name), join(modules, "@everycore", name));
    symlinkSync(join(this.root, "packages/cli"), join(modules, "everycore"));
  }

  /** Ended with its children when `signal` says so; then its verdict says nothing. */
  run({ args }: Check, signal: AbortSignal): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, args, {
        cwd: this.root,
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      let output = "";
      let isLate = false;
      const end = (): void => {
        if (child.pid === undefined || child.exitCode !== null) return;
        process.kill(-child.pid, "SIGKILL");
      };
      const timer = setTimeout(() => {
        isLate = true;
        end();
      }, checkMs);
      signal.addEventListener("abort", end);
      const collect = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-100_000));
      child.stdout.on("data", collect);
      child.stderr.on("data", collect);
      child.on("error", reject);
      child.on("close", (code) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        if (signal.aborted) return resolve({ isRed: false, what: "stopped" });
        if (isLate) return resolve({ isRed: true, what: `no end within ${checkMs / 1_000} s` });
        resolve({ isRed: code !== 0, what: code === 0 ? "" : whatFailed(output) });
      });
    });
  }
}

/** The line of the output that tells most. */
function whatFailed(output: string): string {
  const plain = stripVTControlCharacters(output);
  const [, seed] = /^(seed \d+ .*)$/m.exec(plain) ?? [];
  const [, failed] = /^\s*FAIL\s+(?:unit\s+)?(?:\S+ > )?(.*)$/m.exec(plain) ?? [];
  const told = seed ?? failed ?? plain.trim().split("\n").at(-1) ?? "no word";
  const bare = told.replaceAll("|", "/").replaceAll(/[0-9a-f]{16,}/g, (id) => id.slice(0, 4));
  return bare.length > 110 ? `${bare.slice(0, 107)}...` : bare;
}
