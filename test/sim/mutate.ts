// `npm run mutate`: does anything notice when a rule of the design is broken? Each mutation of mutations.ts is made in
// a copy of the tree, two at a time, and the simulator or the named test must turn red.
//
//   npm run mutate                 all of them; exit 1 if one survives
//   npm run mutate -- fence seal   those whose name has one of the words in it
//   npm run mutate -- --both       the test too where the simulator has noticed already

import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { mutations } from "./mutations.ts";
import type { Mutation } from "./mutations/mutation.ts";
import type { Check, Verdict } from "./tree-copy.ts";
import { TreeCopy } from "./tree-copy.ts";

interface Result {
  readonly mutation: Mutation;
  readonly bySimulator: Verdict | undefined;
  readonly byTest: Verdict | undefined;
  readonly seconds: number;
  /** It could not be made. */
  readonly refusal?: string;
}

const words = process.argv.slice(2);
const isBoth = words.includes("--both");
const wanted = words.filter((word) => !word.startsWith("--"));
const unknown = words.find((word) => word.startsWith("--") && word !== "--both");
const chosen = mutations.filter(
  ({ name }) => wanted.length === 0 || wanted.some((word) => name.includes(word)),
);
const unmatched = wanted.find((word) => !mutations.some(({ name }) => name.includes(word)));
if (unknown !== undefined || unmatched !== undefined) {
  const why =
    unknown === undefined
      ? `no mutation has "${unmatched}" in its name; their list is test/sim/mutations.ts`
      : `unknown flag ${unknown}; there is --both`;
  process.stderr.write(`${why}\n`);
  process.exit(2);
}

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort(signal));

const simulation = (seeds: readonly [number, number]): Check => ({
  title: `seeds ${seeds[0]}-${seeds[1]}`,
  args: ["test/sim/replay.ts", "--first", `${seeds[0]}-${seeds[1]}`],
});
const testOf = (file: string): Check => ({
  title: file,
  args: ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", "--bail=1", file],
});

/** Red without a mutation, a check says nothing about any. */
async function checkBaseline(copy: TreeCopy): Promise<void> {
  const files = new Set(chosen.flatMap(({ test }) => (test === undefined ? [] : [test])));
  const longest = new Map<number, readonly [number, number]>();
  for (const { seeds } of chosen)
    if (seeds !== undefined && seeds[1] > (longest.get(seeds[0])?.[1] ?? 0)) longest.set(seeds[0], seeds);
  const checks = [...[...longest.values()].map(simulation), ...[...files].map(testOf)];
  for (const check of checks) {
    const verdict = await copy.run(check, stopping.signal);
    if (verdict.isRed) throw new Error(`${check.title} is red before anything was broken: ${verdict.what}`);
  }
  process.stdout.write(`${checks.length} checks are green on the code as it is\n`);
}

function apply(copy: TreeCopy, { edits }: Mutation): () => void {
  const before = new Map<string, string>();
  const undo = (): void => {
    for (const [path, text] of before) writeFileSync(path, text);
  };
  for (const { file, find, replace } of edits) {
    const path = join(copy.root, file);
    const text = readFileSync(path, "utf8");
    const found = text.split(find).length - 1;
    if (found !== 1) {
      undo();
      throw new Error(`${file} has its text ${found} times: ${JSON.stringify(find)}`);
    }
    if (!before.has(path)) before.set(path, text);
    writeFileSync(
      path,
      text.replace(find, () => replace),
    );
  }
  return undo;
}

async function judge(copy: TreeCopy, mutation: Mutation): Promise<Result> {
  const began = performance.now();
  let undo: () => void;
  try {
    undo = apply(copy, mutation);
  } catch (error) {
    const refusal = error instanceof Error ? error.message : String(error);
    return { mutation, bySimulator: undefined, byTest: undefined, seconds: 0, refusal };
  }
  const { seeds, test } = mutation;
  const bySimulator = seeds === undefined ? undefined : await copy.run(simulation(seeds), stopping.signal);
  const isTestDue = test !== undefined && (isBoth || bySimulator?.isRed !== true);
  const byTest = isTestDue ? await copy.run(testOf(test), stopping.signal) : undefined;
  undo();
  return { mutation, bySimulator, byTest, seconds: (performance.now() - began) / 1_000 };
}

const isKilled = ({ bySimulator, byTest }: Result): boolean =>
  bySimulator?.isRed === true || byTest?.isRed === true;

function line(result: Result): string {
  const { mutation, bySimulator, byTest, seconds, refusal } = result;
  const told = (verdict: Verdict | undefined): string =>
    verdict === undefined ? "-" : verdict.isRed ? verdict.what : "green";
  const end = isKilled(result) ? "red" : refusal === undefined ? "SURVIVES" : "NOT MADE";
  const cells = [end, mutation.rule, mutation.name, told(bySimulator), told(byTest)];
  return `| ${cells.join(" | ")} | ${seconds.toFixed(0)} s |${refusal === undefined ? "" : ` ${refusal}`}`;
}

async function main(): Promise<number> {
  const lanes = Math.min(2, availableParallelism(), chosen.length);
  await using copies = await TreeCopy.several(lanes);
  await checkBaseline(copies.list[0]!);
  process.stdout.write(
    "| | rule | what is done wrong | simulator | test | time |\n|---|---|---|---|---|---|\n",
  );
  const queue = [...chosen];
  const results: Result[] = [];
  const work = async (copy: TreeCopy): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const result = await judge(copy, next);
      if (stopping.signal.aborted) return;
      results.push(result);
      process.stdout.write(`${line(result)}\n`);
    }
  };
  await Promise.all(copies.list.map(work));
  stopping.signal.throwIfAborted();
  const alive = results.filter((result) => !isKilled(result));
  process.stdout.write(`${results.length} rules were broken, ${alive.length} unseen\n`);
  for (const { mutation } of alive) process.stdout.write(`unseen: ${mutation.name} (${mutation.rule})\n`);
  return alive.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  const isStopped = stopping.signal.aborted;
  const why = error instanceof Error ? error.message : String(error);
  process.stderr.write(isStopped ? "stopped; the copies are removed\n" : `${why}\n`);
  process.exitCode = isStopped ? 130 : 1;
}
