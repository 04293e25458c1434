/**
 * What a former agent left (P3, DESIGN 8): its process groups are ended, its outcome files are published, and the
 * item that each of its workers was running is struck `lost`. Files of another boot are discarded: what a power
 * cut left of them is not to be trusted. The hello says so, and the leader strikes the leases, which it knows: else an
 * item that takes its machine down would do so for ever (DESIGN 5, "Strikes").
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import type { CommitPart, CommitRecord, JobId, StrikeRecord } from "@everycore/protocol";
import { levelOf, limits, outcomeStatus, recordStatus } from "@everycore/protocol";
import type { OutcomeRun } from "./core/index.ts";
import type { PublisherOptions } from "./data/publisher.ts";
import { Publisher } from "./data/publisher.ts";
import { endLeftover } from "./machine/processes.ts";
import { OutcomeFiles } from "./slots/outcome-files.ts";
import type { ScannedSlice } from "./slots/outcome-scan.ts";
import type { SliceHead } from "./slots/slice-head.ts";
import { readLeftPage } from "./slots/slot-page.ts";
import { bootDigits, bootOf } from "./slots/worker-dir.ts";

export interface Leftovers {
  readonly commits: readonly { record: CommitRecord; head: SliceHead; runs: readonly OutcomeRun[] }[];
  readonly strikes: readonly { record: StrikeRecord; head: SliceHead }[];
  readonly bytesOf: (run: OutcomeRun) => Buffer;
  /** False: what ran is not known, for files of another boot were discarded or some could not be read. */
  readonly isComplete: boolean;
  /** Records that the log has. */
  readonly published: Set<object>;
  /** Sequences of what was published, by job: a leader takes our hello only after it has read them. */
  readonly acknowledged: Map<JobId, number>;
  /** Removes the directories, once all is published. */
  readonly remove: () => void;
}

export function collectLeftovers(slotsDir: string, options: { bootId: string; log: Logger }): Leftovers {
  const { bootId, log } = options;
  const dirs = existsSync(slotsDir) ? readdirSync(slotsDir).map((name) => join(slotsDir, name)) : [];
  const stores: OutcomeFiles[] = [];
  const commits: { record: CommitRecord; head: SliceHead; runs: OutcomeRun[] }[] = [];
  const strikes: { record: StrikeRecord; head: SliceHead }[] = [];
  let isComplete = true;
  for (const dir of dirs) {
    const page = readLeftPage(dir);
    const isOfThisBoot = bootOf(dir) === bootId.slice(0, bootDigits) && (page?.bootId ?? bootId) === bootId;
    if (!isOfThisBoot) {
      log.warn({ dir }, "files of another boot are discarded");
      isComplete = false;
    } else if (page !== undefined && endLeftover(page.pid, page.startTime))
      log.info({ pid: page.pid }, "ended a worker of a former agent");
    dropScratch(dir);
    if (!isOfThisBoot || page === undefined) continue;
    try {
      const files = OutcomeFiles.leftIn(dir);
      stores.push(files);
      const slices = files.read();
      for (const slice of slices) commits.push(...commitsOf(slice));
      const last = slices.at(-1);
      const isRunning = page.phase === "item" && last !== undefined && page.slice === last.slice;
      if (!isRunning) continue;
      const cursor = last.head.start + last.items;
      if (cursor < Math.min(last.head.end, page.limitOf(last.slice) ?? last.head.end)) {
        strikes.push({ record: strikeOf(last.head, cursor), head: last.head });
      }
    } catch (error) {
      isComplete = false;
      log.warn(
        { dir, reason: error instanceof Error ? error.message : String(error) },
        "unreadable slot files",
      );
    }
  }
  return {
    commits,
    strikes,
    isComplete,
    published: new Set(),
    acknowledged: new Map(),
    bytesOf: (run) => stores.find((files) => files.has(run.file))!.bytesOf(run),
    remove: () => {
      for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Not needed to publish anything, and it may be large. What a dying worker still holds goes with the directory. */
function dropScratch(dir: string): void {
  try {
    rmSync(join(dir, "scratch"), { recursive: true, force: true });
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

function* commitsOf(
  slice: ScannedSlice,
): Generator<{ record: CommitRecord; head: SliceHead; runs: OutcomeRun[] }> {
  const { head } = slice;
  let runs: OutcomeRun[] = [];
  let bytes = 0;
  const flush = (): { record: CommitRecord; head: SliceHead; runs: OutcomeRun[] } => {
    const parts = runs.map((run) => partOf(head, run));
    const record = {
      kind: "commit",
      job: head.job,
      epoch: head.epoch,
      leases: [head.grant],
      parts,
      usage: [],
      bytes,
    } as const;
    const out = { record, head, runs };
    runs = [];
    bytes = 0;
    return out;
  };
  for (const run of slice.runs) {
    const size = run.to - run.from;
    if (runs.length > 0 && (bytes + size > limits.messageBytesMax || runs.length >= limits.commitPartsMax))
      yield flush();
    runs.push(run);
    bytes += size;
  }
  if (runs.length > 0) yield flush();
}

function partOf(head: SliceHead, run: OutcomeRun): CommitPart {
  const tried = levelOf(head.attempts, run.start);
  const isGood = run.status === outcomeStatus.value || run.status === recordStatus.partial;
  const failed = run.status === outcomeStatus.timeout ? "timeout" : "error";
  const status = isGood ? "value" : tried < head.retries ? "again" : failed;
  const part = { lease: 0, start: run.start, end: run.end, status } as const;
  return run.missing === undefined ? part : { ...part, missing: run.missing };
}

const strikeOf = (head: SliceHead, item: number): StrikeRecord => ({
  kind: "strike",
  job: head.job,
  epoch: head.epoch,
  cause: "lost",
  lease: head.grant,
  ranges: [{ start: item, end: item + 1 }],
  byLeader: false,
  detail: { reason: "the agent died while the item ran" },
});

/**
 * True when the log has all of it, and the directories are gone; false when the log was silent for `withinMs`. What it
 * has is not sent again: there may be thousands, and who begins anew each time may never come to an end. Strikes go
 * last: an item that has ended was not running.
 */
export async function publishLeftovers(
  left: Leftovers,
  options: Omit<PublisherOptions, "bytesOf"> & { withinMs: number },
): Promise<boolean> {
  const publisher = new Publisher({ ...options, bytesOf: left.bytesOf });
  const deadline = setTimeout(() => publisher.close(), options.withinMs);
  const publish = async (record: CommitRecord | StrikeRecord, sent: Promise<number | undefined>) => {
    const seq = await sent;
    if (seq === undefined) return;
    left.published.add(record);
    left.acknowledged.set(record.job, Math.max(seq, left.acknowledged.get(record.job) ?? 0));
    deadline.refresh();
  };
  const isLeft = ({ record }: { readonly record: object }): boolean => !left.published.has(record);
  try {
    const commits = left.commits.filter(isLeft);
    await Promise.all(
      commits.map(({ record, head, runs }) => publish(record, publisher.commit(head.segment, record, runs))),
    );
    if (left.commits.some(isLeft)) return false;
    const strikes = left.strikes.filter(isLeft);
    await Promise.all(
      strikes.map(({ record, head }) => publish(record, publisher.strike(head.segment, record))),
    );
    if (left.strikes.some(isLeft)) return false;
    left.remove();
    return true;
  } finally {
    clearTimeout(deadline);
  }
}
