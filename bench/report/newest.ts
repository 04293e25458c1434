/** The newest results of each bench, as results.ts has written them. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { FigureResult } from "../figure.ts";
import type { Turn } from "../peers/results.ts";
import type { Level } from "../scale/level.ts";

const folder = fileURLToPath(new URL("../results/", import.meta.url));

interface Common {
  readonly startedAt: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly node: string;
  };
}

export interface Results {
  readonly figures: Common & {
    readonly repeat: number;
    readonly results: Readonly<Record<string, FigureResult | { readonly error: string }>>;
  };
  readonly peers: Common & {
    readonly slots: number;
    readonly versions: Readonly<Record<string, string>>;
    readonly turns: readonly Turn[];
  };
  readonly scale: Common & { readonly levels: readonly Level[] };
}

/** The latest last. */
const filesOf = (kind: keyof Results): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith(`${kind}-`))
    .sort((a, b) => (a < b ? -1 : 1));

/** Written by this version's own benches, or the report would show what it does not know. */
const read = <Kind extends keyof Results>(file: string): Results[Kind] =>
  JSON.parse(readFileSync(`${folder}${file}`, "utf8")) as Results[Kind];

/** undefined: it was never run here. */
export function newest<Kind extends keyof Results>(kind: Kind): Results[Kind] | undefined {
  const file = filesOf(kind).at(-1);
  return file === undefined ? undefined : read<Kind>(file);
}

/** A figure, and the newest run here that could measure it. */
export interface MeasuredFigure {
  readonly result: FigureResult;
  readonly run: Results["figures"];
}

/** Of each figure its newest result, for a run may measure a few of them; in the order in which they were first run. */
export function newestFigures(): MeasuredFigure[] {
  const found = new Map<string, MeasuredFigure>();
  for (const run of filesOf("figures").map((file) => read<"figures">(file))) {
    for (const [name, result] of Object.entries(run.results))
      if ("rows" in result) found.set(name, { result, run });
  }
  return [...found.values()];
}

export const machineText = ({ machine, startedAt }: Common): string =>
  `${machine.cores} cores of ${machine.cpu.trim()}, ${Math.round(machine.memoryBytes / 2 ** 30)} GB, ` +
  `Node ${machine.node.slice(1)}, ${startedAt.slice(0, 10)}`;
