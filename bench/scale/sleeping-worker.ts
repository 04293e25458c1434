/**
 * What a simulated agent has in place of workers: one slot whose items sleep, and the books of its leases as a real
 * agent keeps them (packages/node-agent/src/core): what is queued, what is done and not acknowledged, what was given
 * back and not confirmed. No timers and no sockets: the caller brings the time and carries what comes out.
 *
 *  An item sleeps `argv[1]` ms, a fifth more or less. Items that sleep 0 ms are probes: they end when they arrive,
 *  beside the slot, so that they measure the cluster and not the item before them.
 */
import type {
  CommitPart,
  CommitRecord,
  JobId,
  LeaseGrant,
  LeaseId,
  LeaseMessage,
  Range,
} from "@everycore/protocol";
import { IntervalSet, limits } from "@everycore/protocol";

/** As a real agent (core/commits.ts). */
const inFlightPerJobMax = 4;
/** With so few items left the end of the queue is not slept through. */
const nearEndItems = 4;

interface Held {
  readonly message: LeaseMessage;
  readonly sleepMs: number;
  /** Items [next, end) are queued. */
  next: number;
  end: number;
  /** Ended here, not acknowledged by the log. */
  readonly done: IntervalSet;
  readonly gaveBack: IntervalSet;
}

interface Waiting {
  readonly runs: { readonly held: Held; readonly start: number; end: number; busyMs: number }[];
  since: number;
  inFlight: number;
  ackedSeq: number;
}

interface Running {
  readonly held: Held;
  readonly index: number;
  readonly busyMs: number;
  /** Infinite until the leader lets an announced slice start. */
  endsAt: number;
  readonly ask: number;
}

/** A commit on its way, to be handed back once it is acknowledged. */
export interface OutgoingCommit {
  readonly segment: LeaseMessage["segment"];
  readonly record: CommitRecord;
}

export interface LeaseState {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly unfinished: readonly Range[];
  readonly unacknowledged: readonly Range[];
  readonly gaveBack: readonly Range[];
  readonly acknowledgedSeq: number;
}

export interface SliceAsk {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly range: Range;
  readonly ask: number;
}

export class SleepingWorker {
  readonly #random: () => number;
  readonly #leases = new Map<LeaseId, Held>();
  readonly #waiting = new Map<JobId, Waiting>();
  /** Announced slices that wait for the leader's word; taken by the caller. */
  readonly asks: SliceAsk[] = [];
  #running: Running | undefined;
  #lastAsk = 0;
  commitMs: number = limits.commitMs;
  items = 0;
  busyMs = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  get isIdle(): boolean {
    return this.#running === undefined;
  }

  /** False: it has this lease already. */
  take(message: LeaseMessage, now: number): boolean {
    const { grant, job, task } = message;
    if (this.#leases.has(grant.id)) return false;
    const held: Held = {
      message,
      sleepMs: Number(task.argv?.[1] ?? 0),
      next: grant.start,
      end: grant.end,
      done: new IntervalSet(),
      gaveBack: new IntervalSet(),
    };
    this.#leases.set(grant.id, held);
    if (!this.#waiting.has(job)) this.#waiting.set(job, { runs: [], since: 0, inFlight: 0, ackedSeq: 0 });
    if (held.sleepMs === 0) {
      for (; held.next < held.end; held.next += 1) this.#finish(held, held.next, 0, now);
    } else if (this.#running === undefined) this.#start(now);
    return true;
  }

  /** Ends what has ended by now, and starts what follows, each when the one before it ended. */
  advance(now: number): void {
    while (this.#running !== undefined && this.#running.endsAt <= now) {
      const { held, index, busyMs, endsAt } = this.#running;
      this.#running = undefined;
      this.#finish(held, index, busyMs, now);
      this.#start(endsAt);
    }
  }

  /** When it wants to be called next. */
  wakeAt(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { runs, since, inFlight } of this.#waiting.values()) {
      if (runs.length > 0 && inFlight < inFlightPerJobMax) at = Math.min(at, since + this.commitMs);
    }
    if (this.#running === undefined) return at;
    const { held, endsAt } = this.#running;
    const isCommitSet = this.#waiting.get(held.message.job)!.runs.length > 0;
    return isCommitSet && this.#queued() >= nearEndItems ? at : Math.min(at, endsAt);
  }

  /** Commits that are due: nothing more of the job here, or the first outcome is `commitMs` old. */
  *commits(now: number): Generator<OutgoingCommit> {
    for (const [job, waiting] of this.#waiting) {
      while (waiting.runs.length > 0 && waiting.inFlight < inFlightPerJobMax) {
        if (now < waiting.since + this.commitMs && this.#hasMore(job)) break;
        yield this.#commit(job, waiting, now);
      }
    }
  }

  #commit(job: JobId, waiting: Waiting, now: number): OutgoingCommit {
    const leases: LeaseGrant[] = [];
    const parts: CommitPart[] = [];
    const runs = waiting.runs.splice(0, limits.commitLeasesMax);
    let items = 0;
    let busyMs = 0;
    let bytes = 0;
    for (const run of runs) {
      const { grant } = run.held.message;
      const known = leases.findIndex(({ id }) => id === grant.id);
      const lease = known >= 0 ? known : leases.push(grant) - 1;
      parts.push({ lease, start: run.start, end: run.end, status: "value" });
      items += run.end - run.start;
      busyMs += run.busyMs;
      bytes += (run.end - run.start) * outcomeBytes;
    }
    waiting.since = now;
    waiting.inFlight += 1;
    const { epoch, segment } = runs[0]!.held.message;
    const usage = [{ slot: 0, items, slices: items, splits: 0, busyMs, cpuMs: 0 }];
    return { segment, record: { kind: "commit", job, epoch, leases, parts, usage, bytes } };
  }

  acknowledged({ job, leases, parts }: CommitRecord, seq: number): void {
    const waiting = this.#waiting.get(job);
    if (waiting === undefined) return;
    waiting.inFlight -= 1;
    waiting.ackedSeq = Math.max(waiting.ackedSeq, seq);
    for (const { lease, start, end } of parts) {
      const held = this.#leases.get(leases[lease]!.id);
      held?.done.remove(start, end);
      if (held !== undefined) this.#settle(held);
    }
  }

  /** DESIGN 9, "Give back": the tail of the queue. The items sleep alone in their slices: there is none to split. */
  giveBack(job: JobId, wantMs: number): { grant: LeaseGrant; ranges: readonly Range[] }[] {
    const answers: { grant: LeaseGrant; ranges: readonly Range[] }[] = [];
    const held = [...this.#leases.values()].filter(({ message }) => message.job === job);
    const queued = held.reduce((sum, { next, end }) => sum + Math.max(0, end - next), 0);
    const itemMs = held.at(-1)?.message.itemMs ?? 0;
    let left = Math.min(
      queued,
      itemMs > 0 ? Math.max(1, Math.floor(wantMs / itemMs)) : Math.ceil(queued / 2),
    );
    for (const lease of held.toSorted((a, b) => b.message.tag - a.message.tag)) {
      const start = Math.max(lease.next, lease.end - left);
      if (start >= lease.end) continue;
      const range = { start, end: lease.end };
      lease.end = start;
      lease.gaveBack.add(range.start, range.end);
      left -= range.end - range.start;
      answers.push({ grant: lease.message.grant, ranges: [range] });
    }
    return answers;
  }

  confirmed(id: LeaseId, ranges: readonly Range[]): void {
    const held = this.#leases.get(id);
    held?.gaveBack.removeAll(ranges);
    if (held !== undefined) this.#settle(held);
  }

  mayStart(ask: number, now: number): void {
    const running = this.#running;
    if (running?.ask === ask) running.endsAt = Math.min(running.endsAt, now + running.busyMs);
  }

  drop(ids: readonly LeaseId[], now: number): void {
    for (const id of ids) {
      this.#leases.delete(id);
      for (const waiting of this.#waiting.values()) {
        const kept = waiting.runs.filter(({ held }) => held.message.grant.id !== id);
        waiting.runs.splice(0, waiting.runs.length, ...kept);
      }
      if (this.#running?.held.message.grant.id === id) this.#running = undefined;
    }
    if (this.#running === undefined) this.#start(now);
  }

  /** Cancelled or ended. */
  forget(job: JobId, now: number): void {
    this.#waiting.delete(job);
    const ids = [...this.#leases.values()].filter(({ message }) => message.job === job);
    this.drop(
      ids.map(({ message }) => message.grant.id),
      now,
    );
  }

  report(): LeaseState[] {
    return [...this.#leases.values()].map(({ message, next, end, done, gaveBack }) => {
      const { job, grant } = message;
      const isRunning = this.#running?.held.message.grant.id === grant.id;
      const start = isRunning ? Math.min(next, this.#running!.index) : next;
      return {
        job,
        grant,
        unfinished: start < end ? [{ start, end }] : [],
        unacknowledged: done.toRanges(),
        gaveBack: gaveBack.toRanges(),
        acknowledgedSeq: this.#waiting.get(job)?.ackedSeq ?? 0,
      };
    });
  }

  /** Highest sequence acknowledged, by job. */
  acknowledgedSeqs(): Record<JobId, number> {
    return Object.fromEntries([...this.#waiting].map(([job, { ackedSeq }]) => [job, ackedSeq]));
  }

  #finish(held: Held, index: number, busyMs: number, now: number): void {
    this.items += 1;
    this.busyMs += busyMs;
    held.done.add(index, index + 1);
    const waiting = this.#waiting.get(held.message.job)!;
    if (waiting.runs.length === 0) waiting.since = now;
    const last = waiting.runs.at(-1);
    if (last?.held === held && last.end === index) {
      last.end += 1;
      last.busyMs += busyMs;
    } else waiting.runs.push({ held, start: index, end: index + 1, busyMs });
  }

  /** The next item in the order of a real agent's queue: priority, then fair-share tag, then arrival. */
  #start(now: number): void {
    let first: Held | undefined;
    for (const held of this.#leases.values()) {
      if (held.next >= held.end) continue;
      if (first === undefined || comesBefore(held.message, first.message)) first = held;
    }
    if (first === undefined) return;
    const busyMs = first.sleepMs * (0.8 + 0.4 * this.#random());
    const { mode, job, grant } = first.message;
    this.#lastAsk += 1;
    const index = first.next;
    first.next += 1;
    const endsAt = mode === "normal" ? now + busyMs : Number.POSITIVE_INFINITY;
    this.#running = { held: first, index, busyMs, endsAt, ask: this.#lastAsk };
    if (mode === "normal") return;
    this.asks.push({ job, grant, range: { start: index, end: index + 1 }, ask: this.#lastAsk });
  }

  #queued(): number {
    let items = 0;
    for (const { next, end } of this.#leases.values()) items += Math.max(0, end - next);
    return items;
  }

  #hasMore(job: JobId): boolean {
    if (this.#running?.held.message.job === job) return true;
    for (const { message, next, end } of this.#leases.values())
      if (message.job === job && next < end) return true;
    return false;
  }

  /** Nothing queued, running, unacknowledged or unconfirmed: it is over. */
  #settle(held: Held): void {
    if (held.next < held.end || !held.done.isEmpty || !held.gaveBack.isEmpty) return;
    if (this.#running?.held !== held) this.#leases.delete(held.message.grant.id);
  }
}

/** An outcome on the wire: status, codec, micros, and one byte of value. */
export const outcomeBytes = 7;

const comesBefore = (a: LeaseMessage, b: LeaseMessage): boolean =>
  a.priority === b.priority ? a.tag < b.tag : a.priority > b.priority;
