/** A canned job of one row: submitted, watched while the cluster is disturbed, counted, and gone with the row. */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { codeFields, newRequestId, newSeed } from "@everycore/client/internal";
import type { AuditInfo, JobInfo, TaskCode } from "@everycore/client/internal";
import { EverycoreError, isEnded } from "@everycore/protocol";
import type { ErrorInfo, JobSpec } from "@everycore/protocol";
import type { CannedItem } from "./canned.ts";
import type { Ground } from "./ground.ts";
import { startsAgain } from "./judge.ts";

/** Ends by itself and is deleted by the cluster, should this command be killed. */
const jobTimeoutMs = 120_000;
const ttlMs = 600_000;
const beginWithinMs = 20_000;
const endWithinMs = 60_000;
const tidyWithinMs = 5_000;

/** A start of an item, as its worker wrote it down. */
export interface Start {
  readonly index: number;
  readonly at: number;
  readonly worker: number;
  readonly agent: number;
}

export interface ItemSeen {
  readonly index: number;
  readonly value?: unknown;
  readonly error?: ErrorInfo;
}

/** Other jobs have all slots: nothing can be said of the row. */
export class NoRoom extends Error {
  override readonly name = "NoRoom";
}

export interface Count {
  readonly lost: number;
  readonly again: number;
  readonly faults: readonly string[];
}

export class DrilledJob implements AsyncDisposable {
  readonly id: string;
  readonly items: number;
  readonly #ground: Ground;
  readonly #file: string | undefined;
  #isKept = false;

  private constructor(ground: Ground, fields: { id: string; items: number; file: string | undefined }) {
    this.#ground = ground;
    this.id = fields.id;
    this.items = fields.items;
    this.#file = fields.file;
  }

  /** `perSlot` items for each slot; `special` changes some of them. */
  static async submit(
    ground: Ground,
    options: {
      name: string;
      perSlot: number;
      ms: number;
      special?: (index: number) => Partial<CannedItem>;
    },
  ): Promise<DrilledJob> {
    const { name, perSlot, ms, special = () => ({}) } = options;
    const count = perSlot * ground.slots;
    const file = ground.folder === undefined ? undefined : join(ground.folder, `${name}.starts`);
    if (file !== undefined) appendFileSync(file, "");
    const items = Array.from({ length: count }, (_, index): CannedItem => {
      return { index, ms, ...(file === undefined ? {} : { file }), ...special(index) };
    });
    const spec = specOf(name, ground.code.canned);
    const id = await submitted(ground, spec, items);
    return new DrilledJob(ground, { id, items: count, file });
  }

  /** A range of items that would all run for a minute. */
  static async submitQueue(ground: Ground, name: string, items: number): Promise<DrilledJob> {
    const spec = { ...specOf(name, ground.code.patient), codec: "range" as const, rangeItems: items };
    const id = await submitted(ground, spec);
    return new DrilledJob(ground, { id, items, file: undefined });
  }

  get countsStarts(): boolean {
    return this.#file !== undefined;
  }

  starts(): Start[] {
    if (this.#file === undefined) return [];
    const lines = readFileSync(this.#file, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => {
      const [index = -1, at = 0, worker = 0, agent = 0] = line.split(" ").map(Number);
      return { index, at, worker, agent };
    });
  }

  firstStart(isWanted: (start: Start) => boolean): Start | undefined {
    return this.starts().find(isWanted);
  }

  /** Some items of each slot have run: the job is in full flow. */
  async isFlowing(): Promise<void> {
    const wanted = 2 * this.#ground.slots;
    const began = await this.#ground.until(async () => {
      if (this.countsStarts) return this.starts().length >= wanted;
      return endedOf(await this.info()) >= wanted;
    }, beginWithinMs);
    if (began !== undefined) return;
    const { cluster, signal } = this.#ground;
    const { jobs } = await cluster.listJobs({ state: "running" }, { signal });
    const within = `within ${beginWithinMs / 1_000} s`;
    if (jobs.some(({ id, leased }) => id !== this.id && leased > 0))
      throw new NoRoom(`no slot was free ${within}: other jobs have them`);
    const { leased, reason } = await cluster.getJob(this.id, { signal });
    const why = reason === "" ? "" : `, ${reason}`;
    throw new EverycoreError("timeout", `its job has not begun ${within} (${leased} items leased${why})`);
  }

  /** The next start that is seen: its item runs at this moment. */
  async nextStart(isWanted: (start: Start) => boolean = () => true): Promise<Start> {
    let known = this.starts().length;
    let found: Start | undefined;
    await this.#ground.until(() => {
      const starts = this.starts();
      found = starts.slice(known).findLast(isWanted);
      known = starts.length;
      return found !== undefined;
    }, beginWithinMs);
    if (found === undefined) throw new EverycoreError("timeout", "no item of its job began any more");
    return found;
  }

  /** Throws while the cluster is away. */
  info(): Promise<JobInfo> {
    return this.#ground.job(this.id);
  }

  /** When it was seen to have ended; undefined if it has not within a time that is long for it. */
  async end(): Promise<number | undefined> {
    return this.#ground.until(async () => isEnded((await this.info()).state), endWithinMs);
  }

  /** By the audit of the log and by what the items gave: `isRight` has the outcome that each must have. */
  async count(isRight: (item: ItemSeen) => boolean): Promise<Count> {
    const { cluster, signal } = this.#ground;
    let right = 0;
    for await (const outcome of cluster.results(this.id, { follow: false, unordered: true, signal })) {
      const { index } = outcome;
      const seen = outcome.isValue ? { index, value: outcome.value() } : { index, error: outcome.error() };
      if (isRight(seen)) right += 1;
    }
    return this.#counted(right);
  }

  /** Of a queue whose items nobody wants to read one by one. */
  async countCancelled(): Promise<Count> {
    const { counts } = await this.#ground.cluster.getJob(this.id, { signal: this.#ground.signal });
    return this.#counted(counts?.cancelled ?? 0);
  }

  async #counted(right: number): Promise<Count> {
    const { cluster, signal } = this.#ground;
    const { state } = await cluster.getJob(this.id, { signal });
    const audit = await cluster.auditJob(this.id, { signal });
    const again = this.countsStarts
      ? startsAgain(this.starts().map(({ index }) => index))
      : audit.retries + audit.strikes + audit.duplicate;
    if (isEnded(state)) return { lost: this.items - right, again, faults: faultsOf(audit, this.items) };
    // What still waits is not lost.
    return {
      lost: 0,
      again,
      faults: [`${audit.covered} of ${this.items} items had ended, and the job had not`],
    };
  }

  /** Left in the cluster, for whoever wants to know what went wrong. */
  keep(): void {
    this.#isKept = true;
  }

  /** Whatever came of the row, nothing of it runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { cluster } = this.#ground;
    const signal = AbortSignal.timeout(tidyWithinMs);
    try {
      const { state } = await cluster.getJob(this.id, { signal });
      if (!isEnded(state)) await cluster.cancelJob(this.id, "the drill is over", { signal });
      await cluster.waitJob(this.id, { signal });
      if (!this.#isKept) await cluster.deleteJob(this.id, { signal });
    } catch {
      // its time limit ends it, its ttl deletes it
    }
  }
}

export const endedOf = ({ counts }: JobInfo): number =>
  Object.values(counts ?? {}).reduce<number>((sum, count) => sum + Number(count), 0);

function faultsOf(audit: AuditInfo, items: number): string[] {
  const faults = [];
  if (!audit.closed) faults.push(`the audit found ${audit.total - audit.covered} items without an outcome`);
  if (audit.total !== items) faults.push(`its job has ${audit.total} items instead of ${items}`);
  if (audit.invalid > 0) faults.push(`the audit found ${audit.invalid} invalid records`);
  return faults;
}

const specOf = (name: string, code: TaskCode): JobSpec => ({
  name: `drill: ${name}`,
  task: { ...codeFields(code), seed: newSeed(), rangeStart: 0, retries: 0 },
  codec: "json",
  priority: 0,
  strict: false,
  ttlMs,
  jobTimeoutMs,
});

async function submitted(ground: Ground, spec: JobSpec, items?: readonly CannedItem[]): Promise<string> {
  const { cluster, signal } = ground;
  const encoded = items?.map((item) => Buffer.from(JSON.stringify(item), "utf8"));
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec,
    signal,
    ...(encoded === undefined ? {} : { items: once(encoded) }),
  });
  return (await submission.closed).id;
}

async function* once(items: readonly Uint8Array[]): AsyncGenerator<readonly Uint8Array[]> {
  yield items;
}
