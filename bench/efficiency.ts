/**
 * How well the cluster uses the cores: the same items through a cold job and through two bare processes, interleaved,
 * each first in turn. Two answers: time against time, and the loop's CPU seconds against all that the cluster used.
 */
import { startTemporaryCluster } from "../scripts/temporary-cluster.ts";
import { runBare } from "./bare.ts";
import type { BareRun } from "./bare.ts";
import { roundsPerMs } from "./calibrate.ts";
import { freshBundle, runColdJob } from "./cold-job.ts";
import type { ColdRun } from "./cold-job.ts";
import { atLeast, percentText } from "./figure.ts";
import type { FigureContext, FigureResult, Row } from "./figure.ts";

export interface EfficiencyOptions {
  readonly what: string;
  /** Durations of the items, ms. */
  readonly itemMs: readonly number[];
  readonly target: number;
  /** Share of CPU seconds, where the figure has a target for it. */
  readonly cpuTarget?: number;
  /** The time that the cluster is held against, s. Default: what the bare processes took. */
  readonly ideal?: (bare: BareRun, processes: number) => number;
}

interface Pair {
  readonly bare: BareRun;
  readonly cold: ColdRun;
  readonly share: number;
  readonly cpuShare: number;
}

export async function measureEfficiency(
  context: FigureContext,
  options: EfficiencyOptions,
): Promise<FigureResult> {
  const { repeat, say, signal } = context;
  const perMs = roundsPerMs();
  const items = options.itemMs.map((ms) => Math.max(1, Math.round(ms * perMs)));
  const pairs: Pair[] = [];
  await using local = await startTemporaryCluster({ agents: 1, say, signal });
  const { cluster, slots } = local;
  for (let turn = 0; turn < repeat; turn += 1) {
    signal.throwIfAborted();
    const bundle = await freshBundle();
    const measureCold = (): Promise<ColdRun> => runColdJob({ cluster, bundle, export: "spin", items });
    const early = turn % 2 === 0 ? await runBare(items, slots) : undefined;
    const cold = await measureCold();
    const bare = early ?? (await runBare(items, slots));
    const idealSeconds = options.ideal?.(bare, slots) ?? bare.seconds;
    pairs.push({
      bare,
      cold,
      share: idealSeconds / cold.seconds,
      cpuShare: bare.cpuSeconds / cold.cpuSeconds,
    });
    say(
      `  ${turn + 1}/${repeat}: ${cold.seconds.toFixed(3)} s against ${idealSeconds.toFixed(3)} s; ` +
        `CPU ${cold.cpuSeconds.toFixed(2)} s against ${bare.cpuSeconds.toFixed(2)} s`,
    );
  }
  return { rows: rowsOf(options, pairs), details: { roundsPerMs: perMs, pairs: pairs.map(detailsOf) } };
}

function rowsOf(options: EfficiencyOptions, pairs: readonly Pair[]): Row[] {
  const { what, target, cpuTarget } = options;
  const cpu = {
    what: `${what}: share of CPU seconds`,
    values: pairs.map(({ cpuShare }) => cpuShare),
    text: percentText,
  };
  const cpuRow = atLeast({ ...cpu, target: cpuTarget ?? target });
  return [
    atLeast({ what, target, values: pairs.map(({ share }) => share), text: percentText }),
    cpuTarget === undefined ? { ...cpuRow, target: "", ratio: Number.NaN } : cpuRow,
  ];
}

const detailsOf = ({ bare, cold, share, cpuShare }: Pair): object => {
  const { info, ...times } = cold;
  return { share, cpuShare, bare, cold: { ...times, leases: info.leasesSent, usage: info.usage } };
};
