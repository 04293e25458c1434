/** Who takes part, in which workloads, and how each is started: as its user would, with nothing of ours around it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freshBundle, runColdJob } from "../cold-job.ts";
import type { TemporaryCluster } from "../../scripts/temporary-cluster.ts";
import type { Installed } from "./install.ts";
import { runCommand, runDriver } from "./timed-process.ts";
import type { Times } from "./timed-process.ts";
import type { Language, Workload } from "./workloads.ts";

export interface Entry {
  readonly workload: Workload;
  /** Rounds of the contender's language for each item; none for workloads without. */
  readonly rounds: readonly number[];
  /** How many of them are run; fewer than the workload has where it would take minutes. */
  readonly count: number;
}

export interface Contender {
  readonly name: string;
  /** Of `install`; "" needs nothing. */
  readonly needs: string;
  readonly language: Language;
  readonly workloads: readonly string[];
  /** Items of `no-op` that it does within about 10 s; the time per item counts. Default: all. */
  readonly noOps?: number;
  readonly run: (entry: Entry) => Promise<Times>;
}

export interface Ground {
  readonly installed: Installed;
  readonly slots: number;
  /** Workload files of the drivers and items of the command. */
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
  /** The environment of one who has a running `up`. */
  readonly upEnvironment: NodeJS.ProcessEnv;
  /** For the library: the same cluster, already connected to. */
  readonly local: TemporaryCluster;
  readonly signal: AbortSignal;
}

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const command = file("../../packages/cli/bin/everycore.js");
const spins = ["one-ms", "ten-ms", "log-normal", "no-op"];

export function contendersOf(ground: Ground): Contender[] {
  return [
    everycore(ground, { name: "everycore map, TypeScript", language: "js", task: file("../tasks.ts") }),
    library(ground),
    driver(ground, {
      name: "piscina",
      language: "js",
      argv: [process.execPath, file("drivers/piscina.mjs")],
    }),
    everycore(ground, { name: "everycore map, Python", language: "python", task: file("drivers/tasks.py") }),
    pool(ground, "multiprocessing-map", { name: "multiprocessing Pool.map", needs: "multiprocessing" }),
    pool(ground, "multiprocessing-imap", {
      name: "multiprocessing Pool.imap_unordered",
      needs: "multiprocessing",
      noOps: 100_000,
    }),
    pool(ground, "joblib", { name: "joblib", needs: "joblib", noOps: 300_000 }),
    pool(ground, "dask", { name: "Dask distributed", needs: "distributed", noOps: 10_000 }),
    pool(ground, "ray", { name: "Ray tasks", needs: "ray", noOps: 10_000 }),
    programs(ground),
    shell(ground, "GNU parallel", "parallel", (slots) => `parallel --will-cite -j${slots} /bin/true {}`),
    shell(ground, "xargs", "xargs", (slots) => `xargs -P${slots} -n1 /bin/true`),
    pool(ground, "hyperqueue", {
      name: "HyperQueue",
      needs: "hyperqueue",
      language: "program",
      workloads: ["programs"],
    }),
  ];
}

/** The command, from nothing and against a cluster that is up. */
function everycore(ground: Ground, how: { name: string; language: Language; task: string }): Contender {
  return {
    name: how.name,
    needs: how.language === "python" ? "multiprocessing" : "",
    language: how.language,
    workloads: spins,
    run: async ({ workload, rounds, count }) => {
      const task = `${how.task}:${workload.task}`;
      const items =
        rounds.length === 0
          ? ["--range", `0-${count - 1}`]
          : ["--items", await itemsFile(ground, `${how.language}-${workload.name}`, rounds)];
      return coldAndWarm(ground, ["map", task, ...items]);
    },
  };
}

async function coldAndWarm(ground: Ground, args: readonly string[]): Promise<Times> {
  const argv = [process.execPath, command, ...args];
  const { environment, upEnvironment, signal } = ground;
  const cold = await runCommand({ argv, environment, signal });
  const warm = await runCommand({ argv, environment: upEnvironment, signal });
  return { ...cold, warmSeconds: warm.coldSeconds };
}

/** From a program that is connected already, as a pool within a process is. */
function library({ local }: Ground): Contender {
  return {
    name: "everycore, from a program",
    needs: "",
    language: "js",
    workloads: spins,
    run: async ({ workload, rounds, count }) => {
      const { seconds } = await runColdJob({
        cluster: local.cluster,
        bundle: await freshBundle(),
        export: workload.task === "spin" ? "spin" : "nothing",
        items: rounds.length === 0 ? count : rounds,
      });
      return { warmSeconds: seconds };
    },
  };
}

function programs(ground: Ground): Contender {
  return {
    name: "everycore run",
    needs: "",
    language: "program",
    workloads: ["programs"],
    run: ({ count }) => coldAndWarm(ground, ["run", "--range", `1-${count}`, "--", "/bin/true", "{}"]),
  };
}

function shell(ground: Ground, name: string, needs: string, line: (slots: number) => string): Contender {
  const { environment, slots, signal } = ground;
  return {
    name,
    needs,
    language: "program",
    workloads: ["programs"],
    run: ({ count }) =>
      runCommand({ argv: ["sh", "-c", `seq ${count} | ${line(slots)}`], environment, signal }),
  };
}

function pool(
  ground: Ground,
  driverName: string,
  how: Partial<Contender> & { readonly name: string; readonly needs: string },
): Contender {
  const argv = [ground.installed.python ?? "python3", file("drivers/pools.py"), driverName];
  return driver(ground, { language: "python", ...how, argv });
}

function driver(
  ground: Ground,
  how: Partial<Contender> & { name: string; language: Language; argv: readonly string[] },
): Contender {
  const { argv, name, language, needs = name, workloads = spins, noOps } = how;
  return {
    name,
    language,
    needs,
    workloads,
    ...(noOps === undefined ? {} : { noOps }),
    run: async ({ workload, rounds, count }) => {
      const { environment, slots, signal, folder } = ground;
      const path = join(folder, `${language}-${workload.name}.json`);
      const items = rounds.length === 0 ? undefined : rounds;
      await writeFile(path, JSON.stringify({ task: workload.task, items: items ?? null, count, slots }));
      return runDriver({ argv: [...argv, path], environment, signal });
    },
  };
}

async function itemsFile({ folder }: Ground, name: string, rounds: readonly number[]): Promise<string> {
  const path = join(folder, `${name}.jsonl`);
  await writeFile(path, rounds.map((count) => `${count}\n`).join(""));
  return path;
}
