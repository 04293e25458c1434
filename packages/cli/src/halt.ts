/**
 * `--halt now|soon,fail=N|N%`, as GNU parallel has it: a job that fails too often is ended. `now` kills what runs;
 * `soon` begins nothing more and lets what runs come to its end.
 */
import { endedItems, failedItems } from "@everycore/client/internal";
import type { Connection, JobInfo } from "@everycore/client/internal";
import { EverycoreError, isEnded } from "@everycore/protocol";

export interface Halt {
  readonly when: "now" | "soon";
  readonly failures: number;
  /** `failures` is a share of the items that have ended, in percent. */
  readonly isShare: boolean;
  /** As it was written. */
  readonly text: string;
}

/** A share says nothing before so many items have failed: else the first failure would be 100 %. */
const shareFailuresMin = 3;

export function parseHalt(text: string): Halt {
  const match = /^(now|soon),fail=(\d+)(%?)$/.exec(text.trim());
  const failures = Number(match?.[2]);
  const isShare = match?.[3] === "%";
  if (match === null || failures < 1 || (isShare && failures > 100)) {
    throw new EverycoreError("bad-input", `"${text}" does not say when to halt`, {
      hint: "write now,fail=1 or soon,fail=10%",
    });
  }
  return { when: match[1] as "now" | "soon", failures, isShare, text: text.trim() };
}

export function isReached(halt: Halt, info: JobInfo): boolean {
  const failed = failedItems(info);
  if (!halt.isShare) return failed >= halt.failures;
  return failed >= shareFailuresMin && (100 * failed) / endedItems(info) >= halt.failures;
}

const reasonPrefix = "--halt ";

/** Why a job was ended by a halt, as the job has it. */
export const haltReason = (halt: Halt): string => `${reasonPrefix}${halt.text}`;

/** The job was ended by a halt: its failures are what counts, not that it was cancelled. */
export const isHalted = (info: JobInfo): boolean =>
  info.state === "cancelled" && info.reason.startsWith(reasonPrefix);

/** Follows the job for its halt; told of each state that is seen. */
export class Halting {
  readonly #halt: Halt;
  readonly #cluster: Connection;
  #isPausing = false;
  /** Ended by this halt: what comes now is only its end. */
  isCancelling = false;

  constructor(halt: Halt, cluster: Connection) {
    this.#halt = halt;
    this.#cluster = cluster;
  }

  async see(info: JobInfo, signal: AbortSignal): Promise<void> {
    if (this.isCancelling || isEnded(info.state)) return;
    if (this.#isPausing) {
      if (info.state === "paused" && info.leased === 0) await this.#cancel(info, signal);
      return;
    }
    if (!isReached(this.#halt, info)) return;
    if (this.#halt.when === "now") return await this.#cancel(info, signal);
    this.#isPausing = true;
    try {
      await this.#cluster.pauseJob(info.id, { signal });
    } catch (error) {
      // It has ended meanwhile, as it should.
      if (!(error instanceof EverycoreError) || error.code !== "conflict") throw error;
    }
  }

  async #cancel(info: JobInfo, signal: AbortSignal): Promise<void> {
    this.isCancelling = true;
    await this.#cluster.cancelJob(info.id, haltReason(this.#halt), { signal });
  }
}
