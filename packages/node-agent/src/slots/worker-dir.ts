/** The name of a worker's directory: unique among all agents that ever had the state directory, and of which boot. */
import { basename } from "node:path";

/** Enough of the boot's id to tell two boots apart where a page is missing or torn. */
export const bootDigits = 6;

export const workerDirName = (of: { slot: number; worker: number; bootId: string }): string =>
  `${of.slot}-${of.worker}-${of.bootId.slice(0, bootDigits)}-${process.pid}`;

/** The first digits of its boot's id; undefined when the name is none of ours. */
export const bootOf = (dir: string): string | undefined =>
  /^\d+-\d+-([0-9a-f]{6})-\d+$/.exec(basename(dir))?.[1];
