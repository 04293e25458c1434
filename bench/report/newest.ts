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

/** undefined: it was never run here. */
export function newest<Kind extends keyof Results>(kind: Kind): Results[Kind] | undefined {
  const file = readdirSync(folder)
    .filter((name) => name.startsWith(`${kind}-`))
    .sort()
    .at(-1);
  // Written by this version's own benches, or the report would show what it does not know.
  return file === undefined
    ? undefined
    : (JSON.parse(readFileSync(`${folder}${file}`, "utf8")) as Results[Kind]);
}

export const machineText = ({ machine, startedAt }: Common): string =>
  `${machine.cores} cores of ${machine.cpu.trim()}, ${Math.round(machine.memoryBytes / 2 ** 30)} GB, ` +
  `Node ${machine.node.slice(1)}, ${startedAt.slice(0, 10)}`;
