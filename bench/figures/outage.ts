/**
 * What an outage of NATS and the loss of the leader cost in core time, at items of 10 ms: NATS stands still for 5 s, the
 * leader is killed as it comes back, and what the workers compute within 15 s from the beginning of that is held against
 * the 15 s before. Agents go on with what they hold; each run of an item leaves a line, so that none is run twice unseen.
 */
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Connection, newRequestId } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { roundsPerMs } from "../calibrate.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atLeast, never, percentText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { takeSnapshot, usageBetween } from "../process-tree.ts";
import { startStandbyCluster, wholeAudit } from "../standby-cluster.ts";
import type { StandbyCluster } from "../standby-cluster.ts";

const itemMs = 10;
/** A minute of work for the two slots; its last half is dealt out in smaller parts, and is not looked at. */
const items = 12_000;
const turnsMax = 3;
const warmMs = 5_000;
const windowMs = 15_000;
const outageMs = 5_000;

interface Turn {
  /** CPU of the workers in each of the windows, s. */
  readonly beforeSeconds: number;
  readonly duringSeconds: number;
  /** Runs of items that had been run. What the audit calls duplicates are mostly commits that were sent twice. */
  readonly again: number;
}

export const outage: Figure = {
  name: "outage",
  run: async ({ repeat, say, signal }) => {
    const rounds = Math.round(itemMs * roundsPerMs());
    await using cluster = await startStandbyCluster(signal);
    await using dir = await mkdtempDisposable(join(tmpdir(), "everycore-outage-"));
    const bundle = await freshBundle();
    const turns: Turn[] = [];
    const count = Math.min(repeat, turnsMax);
    for (let turn = 0; turn < count; turn += 1) {
      signal.throwIfAborted();
      const done = await measureOne(cluster, { bundle, rounds, file: join(dir.path, `${turn}`) }, signal);
      turns.push(done);
      const { beforeSeconds, duringSeconds, again } = done;
      say(
        `  ${turn + 1}/${count}: workers ${beforeSeconds.toFixed(2)} s before, ` +
          `${duringSeconds.toFixed(2)} s during; ${again} run again`,
      );
      await cluster.replace();
    }
    const what = `NATS still for ${outageMs / 1_000} s, then the leader killed, at items of ${itemMs} ms`;
    const again = turns.reduce((sum, turn) => sum + turn.again, 0);
    return {
      turns: count,
      rows: [
        atLeast({
          what: `${what}: core time kept`,
          target: 0.95,
          values: turns.map(({ beforeSeconds, duringSeconds }) => duringSeconds / beforeSeconds),
          text: percentText,
        }),
        never(`${what}: run again`, again),
      ],
      details: turns,
    };
  },
};

async function measureOne(
  cluster: StandbyCluster,
  { bundle, ...item }: { bundle: Bundle; rounds: number; file: string },
  signal: AbortSignal,
): Promise<Turn> {
  const { leader, others } = await cluster.settled();
  await using client = new Connection({ address: others[0]!.ready.address, secret: cluster.secret });
  await client.putBundle(bundle);
  const submission = client.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "noted", "json"),
    items: inputOf(item),
  });
  const job = await submission.accepted;
  await submission.closed;
  await delay(warmMs, undefined, { signal });
  const beforeSeconds = await workersWithin(windowMs, signal);
  const during = workersWithin(windowMs, signal);
  cluster.natsProcess.kill("SIGSTOP");
  try {
    await delay(outageMs, undefined, { signal });
  } finally {
    cluster.natsProcess.kill("SIGCONT");
  }
  cluster.kill(leader);
  const duringSeconds = await during;
  const info = await client.waitJob(job, { signal });
  await wholeAudit(client, info, items, signal);
  const runs = (await readFile(item.file, "utf8")).trimEnd().split("\n").length;
  return { beforeSeconds, duringSeconds, again: runs - items };
}

async function workersWithin(ms: number, signal: AbortSignal): Promise<number> {
  const before = takeSnapshot();
  await delay(ms, undefined, { signal });
  return usageBetween(before, takeSnapshot())["worker"] ?? 0;
}

async function* inputOf(item: { rounds: number; file: string }): AsyncGenerator<Uint8Array[]> {
  yield Array.from({ length: items }, (_, index) => Buffer.from(JSON.stringify({ ...item, index })));
}
