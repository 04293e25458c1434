/**
 * `npm run bench:peers [-- WORKLOAD ...] [--repeat N] [--only NAME,NAME]`: the same work through everycore and through
 * what people use today, all in one run, in turns. All numbers go to a file in bench/results/, from which
 * `npm run bench:report` writes docs/performance.md.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { spawnSync } from "node:child_process";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import type { TemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { runBare } from "../bare.ts";
import type { BareRun } from "../bare.ts";
import { roundsPerMs } from "../calibrate.ts";
import { writeResults } from "../results.ts";
import { runBarePython } from "./bare-python.ts";
import { contendersOf } from "./contenders.ts";
import type { Contender, Ground } from "./contenders.ts";
import { install } from "./install.ts";
import type { Turn } from "./results.ts";
import { resultText } from "./results.ts";
import { roundsOf, workloads } from "./workloads.ts";
import type { Language, Workload } from "./workloads.ts";

process.exitCode = await main();

async function main(): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const { values, positionals } = parseArgs({
    options: { repeat: { type: "string", default: "5" }, only: { type: "string" } },
    allowPositionals: true,
  });
  const unknown = positionals.find((name) => workloads.every((workload) => workload.name !== name));
  if (unknown !== undefined) {
    say(
      `bench:peers: there is no workload ${unknown}; there are ${workloads.map(({ name }) => name).join(", ")}`,
    );
    return 2;
  }
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.once(name, () => interrupted.abort(new Error("interrupted")));
  const { signal } = interrupted;
  const startedAt = new Date();
  const installed = install(say);
  await using local = await startTemporaryCluster({ agents: 1, say, signal });
  const folder = await mkdtemp(join(tmpdir(), "everycore-peers-"));
  try {
    const environment = await cleanEnvironment(folder, "none", installed.python);
    const upEnvironment = await cleanEnvironment(folder, "up", installed.python);
    await announce(upEnvironment["XDG_RUNTIME_DIR"]!, local);
    const { slots } = local;
    const ground: Ground = { installed, slots, folder, environment, upEnvironment, local, signal };
    const perMs = { js: roundsPerMs(), python: pythonRoundsPerMs(installed.python), program: 0 };
    const chosen = workloads.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
    const only = values.only?.split(",");
    const here = contendersOf(ground).filter(({ name }) => only?.some((part) => name.includes(part)) ?? true);
    const turns: Turn[] = [];
    const versions = { node: process.version, ...installed.versions };
    for (let turn = 1; turn <= Number(values.repeat) && !signal.aborted; turn += 1) {
      for (const workload of chosen) {
        say(`${turn}/${values.repeat} ${workload.title}`);
        await takeTurn({ workload, contenders: here, ground, perMs, say, turns });
        if (signal.aborted) break;
      }
    }
    // Also what was interrupted: a turn of all takes minutes.
    const file = await writeResults("peers", startedAt, { slots, versions, perMs, turns });
    process.stdout.write(`${resultText(turns)}\n`);
    say(`all numbers: ${file}`);
    return signal.aborted ? 130 : 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface TurnOptions {
  readonly workload: Workload;
  readonly contenders: readonly Contender[];
  readonly ground: Ground;
  readonly perMs: Readonly<Record<Language, number>>;
  readonly say: (line: string) => void;
  /** Gets each contender's. */
  readonly turns: Turn[];
}

/** Every contender once, with the bare loop of each language in the same minute. */
async function takeTurn(options: TurnOptions): Promise<void> {
  const { workload, contenders, ground, perMs, say, turns } = options;
  const { installed, slots, signal } = ground;
  const bare: Partial<Record<Language, BareRun>> = {};
  const here = contenders.filter(({ workloads: own }) => own.includes(workload.name));
  for (const { name, language, needs, noOps, run } of here) {
    if (signal.aborted) return;
    if (needs !== "" && !installed.has(needs)) continue;
    const rounds = roundsOf(workload, perMs[language]);
    if (rounds.length > 0)
      bare[language] ??=
        language === "js"
          ? await runBare(rounds, slots)
          : await runBarePython(installed.python!, rounds, slots);
    const count = workload.name === "no-op" ? (noOps ?? workload.count) : workload.count;
    try {
      const times = await run({ workload, rounds, count });
      turns.push({
        workload: workload.name,
        contender: name,
        language,
        count,
        ...times,
        ...bareOf(bare[language]),
      });
    } catch (error) {
      if (signal.aborted) return;
      say(`  ${name} failed: ${(error as Error).message}`);
    }
  }
}

function bareOf(bare: BareRun | undefined): { bare?: BareRun } {
  return bare === undefined ? {} : { bare };
}

/** What `everycore up` leaves for the commands of its user: our cluster is started by the same code. */
async function announce(runtimeDir: string, { address, secret }: TemporaryCluster): Promise<void> {
  const folder = join(runtimeDir, "everycore");
  await mkdir(folder, { mode: 0o700 });
  const up = { pid: process.pid, address, secret, http: "", startedAt: Date.now() };
  await writeFile(join(folder, "up.json"), JSON.stringify(up), { mode: 0o600 });
}

/** No configuration; with or without a running `up`, as its folder says; the Python of the peers. */
async function cleanEnvironment(
  folder: string,
  name: string,
  python: string | undefined,
): Promise<NodeJS.ProcessEnv> {
  const own = join(folder, name);
  await mkdir(own, { mode: 0o700 });
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    XDG_RUNTIME_DIR: own,
    XDG_CONFIG_HOME: own,
    RAY_USAGE_STATS_ENABLED: "0",
  };
  for (const variable of Object.keys(environment))
    if (variable.startsWith("EVERYCORE_")) delete environment[variable];
  if (python === undefined) return environment;
  const bin = join(python, "..");
  return { ...environment, PATH: `${bin}:${process.env["PATH"]}`, VIRTUAL_ENV: join(bin, "..") };
}

function pythonRoundsPerMs(python: string | undefined): number {
  if (python === undefined) return 0;
  const script = join(import.meta.dirname, "drivers", "tasks.py");
  return Number(spawnSync(python, [script], { encoding: "utf8" }).stdout);
}
