/**
 * What agents fetch: bundles, input blocks, partials. Agents cannot read JetStream: a read by sequence is not
 * limited by subject, so any agent could read every tenant's data. Here a lease of the job opens the job's data
 * and nothing else.
 */
import type { FetchReply, FetchRequest, JobId, JobSpec, Repair, SegmentId } from "@everycore/protocol";
import {
  decodeFetch,
  encodeFetchReply,
  EverycoreError,
  limits,
  subjects,
  taskOfRound,
} from "@everycore/protocol";
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import type { Logger } from "pino";
import type { Keys } from "../core/index.ts";
import type { Bodies } from "./bodies.ts";
import type { Bundles } from "./bundles.ts";
import type { JobIndexes } from "./job-index.ts";
import { Partials } from "./partials.ts";

/** Fetches served at once; others wait their turn, up to a bound, then are told to come again (P7). */
const atOnceMax = 8;
const waitingMax = 256;
/** The layout of partials is kept while they are being read. */
const partialsKeptMs = 30_000;

export interface FetchJob {
  readonly user: string;
  readonly spec: JobSpec;
  readonly repairs: readonly Repair[];
  readonly segment: SegmentId;
  readonly total: number | undefined;
  /** Sequence up to which the leader has folded the log. */
  readonly seq: number;
}

export interface FetchOptions {
  readonly nats: NatsConnection;
  readonly keys: Keys;
  readonly bundles: Bundles;
  readonly bodies: Bodies;
  readonly indexes: JobIndexes;
  readonly log: Logger;
  /** undefined: not a job that this coordinator knows. */
  readonly jobOf: (id: JobId) => FetchJob | undefined;
  /** Awaits the index's progress. */
  readonly caughtUp: (id: JobId, isReached: () => boolean) => Promise<boolean>;
  readonly onMalformed: () => void;
  /** The partials of a job are more than may be combined. */
  readonly onOverLimit: (job: JobId, message: string) => void;
  readonly onServed: (bytes: number) => void;
}

const refused = (reason: "later" | "refused" | "gone", message: string): FetchReply => ({
  ok: false,
  reason,
  message,
});

export class FetchServer {
  readonly #options: FetchOptions;
  readonly #partials = new Map<string, { opened: Promise<Partials>; timer: NodeJS.Timeout }>();
  readonly #waiting: (() => void)[] = [];
  #serving = 0;

  constructor(options: FetchOptions) {
    this.#options = options;
  }

  /** For one term: a coordinator that stands by knows no job, and would take every second fetch in vain. */
  serve(): Disposable {
    const subscription = this.#options.nats.subscribe(subjects.fetch, {
      queue: subjects.fetchQueue,
      callback: (error, message) => {
        if (error === null) void this.#take(message);
      },
    });
    return { [Symbol.dispose]: () => subscription.unsubscribe() };
  }

  async #take(message: Msg): Promise<void> {
    if (this.#serving >= atOnceMax) {
      if (this.#waiting.length >= waitingMax) {
        message.respond(encodeFetchReply(refused("later", "too many fetches at once")));
        return;
      }
      const turn = Promise.withResolvers<void>();
      this.#waiting.push(turn.resolve);
      await turn.promise;
    }
    this.#serving += 1;
    try {
      message.respond(encodeFetchReply(await this.#answer(message)));
    } catch (error) {
      this.#options.log.warn({ err: error }, "a fetch could not be answered");
      // Silence would be asked again for ever (P5).
      message.respond(
        encodeFetchReply(refused("refused", "the coordinator could not make the reply; see its log")),
      );
    } finally {
      this.#serving -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #answer(message: Msg): Promise<FetchReply> {
    let request: FetchRequest;
    try {
      request = decodeFetch(message.data);
    } catch {
      this.#options.onMalformed();
      return refused("refused", "malformed");
    }
    const { keys, jobOf, onServed } = this.#options;
    if (!keys.verify(request.job, request.grant)) return refused("refused", "this lease was never given");
    const job = jobOf(request.job);
    if (job === undefined) return refused("later", `job ${request.job} is not known here`);
    try {
      const reply = await this.#read(request, job);
      if (reply.ok) onServed(reply.bytes.length);
      return reply;
    } catch (error) {
      if (error instanceof EverycoreError && error.code === "not-found")
        return refused("gone", error.message);
      if (error instanceof EverycoreError && error.code === "over-limit") {
        this.#options.onOverLimit(request.job, error.message);
        return refused("refused", error.message);
      }
      this.#options.log.warn({ err: error, job: request.job, node: request.grant.node }, "a fetch failed");
      return refused("later", "not readable at the moment");
    }
  }

  async #read(request: FetchRequest, job: FetchJob): Promise<FetchReply> {
    const offset = request.offset ?? 0;
    switch (request.what) {
      case "bundle": {
        const { bundle } = taskOfRound(job, request.grant.round);
        const bytes = bundle === undefined ? undefined : await this.#options.bundles.get(job.user, bundle);
        return bytes === undefined ? refused("gone", "the job has no bundle") : frame(bytes, offset);
      }
      case "block": {
        const body = await this.#options.bodies.get(job.segment, request.seq ?? 0);
        const isOwn = body.subject === subjects.input(job.segment, request.job);
        return isOwn ? frame(body.data, offset) : refused("refused", "no input block of this job");
      }
      case "partials":
        return this.#readPartials(request, job, offset);
    }
  }

  async #readPartials(request: FetchRequest, job: FetchJob, offset: number): Promise<FetchReply> {
    const { total } = job;
    if (job.spec.task.reduce === undefined || total === undefined || request.grant.start !== total) {
      return refused("refused", "not the lease of a reduction");
    }
    const partials = await this.#partialsOf(request, job, total);
    if (partials === undefined) return refused("later", "the log is still being read");
    return { ok: true, total: partials.total, bytes: await partials.frame(offset) };
  }

  async #partialsOf(request: FetchRequest, job: FetchJob, total: number): Promise<Partials | undefined> {
    const { indexes, bodies, caughtUp } = this.#options;
    const key = `${request.job}.${request.grant.round}`;
    const known = this.#partials.get(key);
    if (known !== undefined) {
      known.timer.refresh();
      return known.opened;
    }
    await using opened = indexes.open({ id: request.job, segment: job.segment, isReduced: true });
    const { index } = opened;
    if (!(await caughtUp(request.job, () => index.seq >= job.seq))) return undefined;
    const opening = Partials.of({ index, bodies, total });
    const timer = setTimeout(() => this.#partials.delete(key), partialsKeptMs);
    timer.unref();
    this.#partials.set(key, { opened: opening, timer });
    opening.catch(() => this.#partials.delete(key)); // whoever awaits it below hears of it
    return await opening;
  }
}

function frame(bytes: Buffer, offset: number): FetchReply {
  return { ok: true, total: bytes.length, bytes: bytes.subarray(offset, offset + limits.messageBytesMax) };
}
