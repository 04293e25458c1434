// A leader that goes on from a checkpoint knows what one knows that has read the whole log: not only the fold, all that
// reading changes in a job.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JobCheckpoint, JobRecord, LogRecord, SegmentId } from "@everycore/protocol";
import { decodeCheckpoint, encodeCheckpoint, foldVersion, limits, times } from "@everycore/protocol";
import { commands, job as id, logOf, verify } from "../../../protocol/test/support/log-story.ts";
import { checkpointOf } from "../../src/core/checkpoint.ts";
import type { ClusterState, Job, Keys } from "../../src/core/index.ts";
import { newCluster, step } from "../../src/core/index.ts";
import { CoreBench, jobId, only } from "../support/core-bench.ts";

const segment = "s" as SegmentId;
const keys: Keys = { verify, sampleSeed: () => [1, 2, 3, 4], leaseId: () => "0".repeat(32) as never };
const startedAt = 1_000_000;

const record = (state: JobRecord["state"]): JobRecord => ({
  id,
  user: "local",
  spec: {
    name: "j",
    task: { runtime: "js", seed: "0123456789abcdef", rangeStart: 0, retries: 3 },
    codec: "json",
    priority: 0,
    strict: false,
    ttlMs: 0,
  },
  segment,
  state,
  reserved: 24,
  round: 3,
  epoch: 0,
  foldVersion,
  createdAt: 0,
});

/** Input in pieces between the records of a story, and the work behind commits. */
function withInput(log: readonly LogRecord[]): LogRecord[] {
  let first = 0;
  return log.flatMap((one, at): LogRecord[] => {
    if (one.kind === "commit")
      return [{ ...one, usage: [{ slot: 0, items: 3, slices: 1, splits: 0, busyMs: at * 700, cpuMs: 1 }] }];
    if (one.kind !== "fence" && at % 7 !== 0) return [one];
    const input = { kind: "input", job: id, codec: "json", bytes: 100 + at, pieces: 2, count: 2 } as const;
    first += 2;
    return [{ ...input, first: first - 2, piece: 0 }, one, { ...input, first: first - 2, piece: 1 }];
  });
}

/** A leader that has read the log behind its checkpoint, and decides nothing yet. */
function read(log: readonly LogRecord[], of: JobRecord, checkpoint?: JobCheckpoint): ClusterState {
  const state = newCluster();
  const at = startedAt + log.length;
  step(state, keys, { kind: "elected", at, epoch: 1_000, knownNodes: [] });
  step(state, keys, { kind: "jobRecovered", at, record: of, lastSeq: log.length, checkpoint });
  for (const [index, one] of log.entries()) {
    const seq = index + 1;
    if (seq <= (checkpoint?.fold.sums.seq ?? 0)) continue;
    step(state, keys, {
      kind: "logRecord",
      at,
      job: id,
      segment,
      seq,
      storedAt: startedAt + seq,
      record: one,
    });
  }
  return state;
}

function known(state: ClusterState): object {
  const job = state.jobs.get(id)!;
  const { rounds, gaps, mishaps, ...fold } = job.fold.snapshot();
  const entries = <T extends readonly [string | number, unknown]>(of: readonly T[]) =>
    new Map<unknown, unknown>(of);
  return {
    fold,
    rounds: entries(rounds.filter(([, ranges]) => ranges.length > 0)),
    gaps: new Map(gaps.map((gap) => [gap.start, gap])),
    mishaps: { ...mishaps, crashes: entries(mishaps.crashes), counted: entries(mishaps.counted) },
    standings: new Map([...state.standings].map(([node, { crashes }]) => [node, crashes])),
    ...pick(job),
  };
}

const pick = ({
  state,
  phase,
  blocks,
  pieces,
  itemMs,
  learned,
  strikes,
  suspicions,
  ...job
}: Job): object => ({
  state,
  phase,
  blocks,
  pieces,
  itemMs,
  learned,
  strikes,
  suspicions,
  openedRound: job.openedRound,
  pausedInputBytes: job.pausedInputBytes,
  orphan: job.orphan,
  reducing: job.reducing,
});

test("whatever the log and wherever the checkpoint: all that was learned from the log is the same", () => {
  fc.assert(
    fc.property(
      commands,
      fc.nat(100),
      fc.constantFrom("running", "paused", "accepting", "cancelling"),
      (given, share, jobState) => {
        const log = withInput(logOf(given));
        const before = log.slice(0, Math.floor((log.length * share) / 100));
        const former = read(before, record(jobState));
        const taken = checkpointOf(former, former.jobs.get(id)!, startedAt + before.length);
        const checkpoint = decodeCheckpoint(encodeCheckpoint(taken));
        expect(known(read(log, record(jobState), checkpoint))).toEqual(known(read(log, record(jobState))));
      },
    ),
    { numRuns: 1_000 },
  );
});

describe("a checkpoint is taken", () => {
  const paced = (records: number, ms: number): CoreBench => {
    const bench = new CoreBench();
    bench.pace = { records, ms };
    bench.lead([]);
    bench.report("a", { slots: 4 });
    return bench;
  };
  const job = jobId("j");
  const taken = (bench: CoreBench): JobCheckpoint[] =>
    only(bench.effects, "saveCheckpoint").map(({ checkpoint }) => checkpoint);
  const commitOne = (bench: CoreBench): void => {
    bench.answer("a");
    const held = [...bench.node("a").held.values()].find(({ unfinished }) => !unfinished.isEmpty)!;
    const { start } = held.unfinished.first()!;
    bench.commit("a", job, { start, end: start + 1 });
  };

  test("after so many records and so long, and not before", () => {
    const bench = paced(3, 10_000);
    bench.submit("j", { items: 400 }); // its close is a record
    commitOne(bench);
    expect(taken(bench)).toEqual([]);
    commitOne(bench);
    expect(taken(bench).map(({ fold }) => fold.sums.seq)).toEqual([bench.log.length]);
    for (let n = 0; n < 5; n += 1) commitOne(bench);
    expect(taken(bench)).toHaveLength(1);
    bench.now += 10_000;
    commitOne(bench);
    expect(taken(bench)).toHaveLength(2);
    expect(taken(bench)[1]!.fold.covered).toEqual(bench.job(job).fold.covered.toRanges());
  });

  test("of no job that has ended; the end removes the last one, once it is stored", () => {
    const bench = paced(3, 0);
    bench.submit("j", { items: 30 });
    bench.isHeld = true;
    for (let n = 0; n < 30; n += 1) commitOne(bench);
    expect(taken(bench).length).toBeGreaterThan(5);
    expect(bench.job(job).state).toBe("done");
    expect(only(bench.effects, "dropCheckpoint")).toEqual([]);
    expect(only(bench.release(), "dropCheckpoint")).toEqual([{ kind: "dropCheckpoint", job }]);
    const { length } = taken(bench);
    for (let n = 0; n < 5; n += 1) bench.append(bench.log.at(-1)!.record);
    expect(taken(bench)).toHaveLength(length);
  });

  test("of no job with spot checks, which are derived from the whole log", () => {
    const bench = paced(2, 0);
    bench.submit("j", { items: 400, audit: 10 });
    for (let n = 0; n < 5; n += 1) commitOne(bench);
    expect(taken(bench)).toEqual([]);
  });

  test("of no fold that is too large", () => {
    const bench = paced(2, 0);
    bench.submit("j", { items: 1_000_000 });
    const seal = { kind: "seal", job, epoch: bench.epoch, round: 0, status: "lost", message: "" } as const;
    const ranges = Array.from({ length: limits.checkpointRunsMax }, (_, n) => ({
      start: 500_000 + 2 * n,
      end: 500_001 + 2 * n,
    }));
    // Not by the bench, which would look at each of them.
    const event = { kind: "logRecord", at: bench.now, job, segment, storedAt: 0 } as const;
    const effects = step(bench.state, keys, { ...event, seq: 100, record: { ...seal, ranges } });
    expect(bench.job(job).fold.seq).toBe(100);
    expect(only(effects, "saveCheckpoint")).toEqual([]);
  });

  test("never of a log whose fence this leader could not fold", () => {
    const bench = paced(2, 0);
    bench.submit("j", { items: 400 });
    bench.append({ kind: "fence", job, epoch: 7 });
    for (let n = 0; n < 5; n += 1) commitOne(bench);
    expect(taken(bench)).toEqual([]);
  });

  test("as often as said, if nothing else is said", () => {
    expect(newCluster().checkpoints).toEqual({ records: limits.checkpointRecords, ms: times.checkpointMs });
  });
});
