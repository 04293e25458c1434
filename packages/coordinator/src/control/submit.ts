/**
 * Submit: the specification, then blocks, each answered once durable, then the close.
 *
 *  S1  `accepted` is sent once the job's record is stored; `closed` once all blocks and the close are (P1);
 *  S2  a repeated request id is the same job; what is stored of its input says where to go on;
 *  S3  a job that failed or was cancelled meanwhile needs no more input: the submit is answered with the job as it is;
 *  S4  a block is taken from the stream only when the one before is durable: that is the back-pressure (P7). A
 *      paused job takes a bounded number of bytes more; then its stream waits for the resume, or the job's end.
 */
import { createHash } from "node:crypto";
import type { BundleDigest, JobId, JobSpec } from "@everycore/protocol";
import {
  decodeSpec,
  encodeSpec,
  EverycoreError,
  isEnded,
  limits,
  PackedEntries,
  subjects,
} from "@everycore/protocol";
import { isHeldBack, takesInput } from "../core/index.ts";
import type { Job } from "../core/model.ts";
import type { InputWriter } from "../data/log-writer.ts";
import type { InputHint } from "../data/segment-policy.ts";
import { jobKey } from "../effects.ts";
import { jobInfo } from "./job-info.ts";
import type { ControlParts } from "./parts.ts";
import { localUser, viewOf } from "./parts.ts";
import type { Message } from "./handlers.ts";

/** Wait for the leader to fold the close, so that the answer shows the job's total. */
const foldMs = 5_000;

interface SubmitOpen {
  readonly requestId: string;
  readonly spec: Buffer;
  readonly detached: boolean;
  readonly pipe: boolean;
  readonly inputBytes: number;
}
export interface SubmitRequest {
  readonly open?: SubmitOpen;
  readonly block?: { readonly first: number; readonly count: number; readonly data: Buffer };
  readonly close?: { readonly total: number };
}

export const jobIdOf = (user: string, requestId: string): JobId =>
  createHash("sha256").update(user).update("\0").update(requestId).digest("hex").slice(0, 20) as JobId; // its definition

interface SubmitStream {
  readonly requests: AsyncIterable<SubmitRequest>;
  readonly write: (message: Message) => Promise<void>;
  readonly signal: AbortSignal;
}

export async function submit(parts: ControlParts, stream: SubmitStream): Promise<void> {
  const iterator = stream.requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) return;
  const { open } = first.value;
  if (open === undefined)
    throw new EverycoreError("bad-input", "the first message of a submit must be `open`");
  const { job, input } = await accept(parts, open, stream.signal);
  let isClosed = false;
  try {
    await stream.write({ accepted: { job: job.id, appended: input.appended } });
    for (;;) {
      const next = await iterator.next();
      if (next.done === true || stream.signal.aborted) break;
      const { block, close } = next.value;
      if (block) await roomWhilePaused(parts, job, stream.signal); // S4
      if (stream.signal.aborted) break;
      if (isOver(job)) {
        isClosed = true; // S3
        await stream.write({ closed: jobInfo(viewOf(parts, job.id)) });
        return;
      }
      if (block) {
        await appendBlock(parts, { job, input, block, signal: stream.signal });
        await stream.write({ appended: input.appended });
      } else if (close) {
        await closeInput(parts, { job, input, total: close.total, signal: stream.signal });
        isClosed = true;
        await stream.write({ closed: jobInfo(viewOf(parts, job.id)) });
        return;
      } else throw new EverycoreError("bad-input", "a submit has only blocks and a close after its `open`");
    }
  } finally {
    if (!isClosed) parts.enqueue({ kind: "submitBroke", job: job.id, detached: open.detached });
  }
}

async function roomWhilePaused(parts: ControlParts, job: Job, signal: AbortSignal): Promise<void> {
  if (!isHeldBack(job)) return;
  using following = parts.changes.follow(jobKey(job.id), signal);
  for (;;) {
    const seen = following.version();
    // Another term's job is another object, and this one stays as it was.
    const isCurrent = parts.state.jobs.get(job.id) === job;
    if (signal.aborted || !isCurrent || !isHeldBack(job)) return;
    await following.changed(seen);
  }
}

const isOver = (job: Job): boolean => isEnded(job.state) || job.state === "cancelling";

async function accept(
  parts: ControlParts,
  open: SubmitOpen,
  signal: AbortSignal,
): Promise<{ job: Job; input: InputWriter }> {
  parts.mustLead();
  if (open.requestId === "" || open.requestId.length > 200) {
    throw new EverycoreError("bad-input", "a submit needs a request id of at most 200 characters");
  }
  if (open.spec.length > limits.specBytesMax) {
    throw new EverycoreError(
      "over-limit",
      `the job's specification has ${open.spec.length} bytes, more than ${limits.specBytesMax}`,
    );
  }
  const spec = decodeSpec(open.spec);
  const id = jobIdOf(localUser, open.requestId);
  const known = parts.state.jobs.get(id);
  if (known === undefined)
    await begin(parts, { id, spec, input: { isPipe: open.pipe, bytes: open.inputBytes } });
  else {
    if (Buffer.compare(encodeSpec(known.spec), encodeSpec(spec)) !== 0) {
      throw new EverycoreError(
        "conflict",
        `request id ${open.requestId} belongs to job ${id}, which is another job`,
      );
    }
    // Answered once its record is stored (S1).
    await parts.asks.ask((ask) =>
      parts.enqueue({ kind: "jobSubmitted", id, user: localUser, spec, segment: known.segment, ask }),
    );
    parts.enqueue({ kind: "submitResumed", job: id });
  }
  signal.throwIfAborted();
  const job = parts.state.jobs.get(id);
  if (job === undefined)
    throw new EverycoreError("no-leader", "the leader changed while the job was submitted");
  const input =
    known === undefined
      ? parts.writer.newInput(id, job.segment, spec.codec)
      : await parts.writer.openInput(id, job.segment, spec.codec);
  return { job, input };
}

async function begin(
  parts: ControlParts,
  wanted: { id: JobId; spec: JobSpec; input: InputHint },
): Promise<void> {
  const { id, spec, input } = wanted;
  await mustHaveBundle(parts, spec.task.bundle);
  if (parts.segments.level !== "ok") {
    throw new EverycoreError("storage-full", "the cluster's storage is nearly full", {
      hint: "delete ended jobs: everycore job delete ID",
    });
  }
  await parts.jobRecords.settled(id);
  const segment = await parts.segments.choose(id, spec, input, parts.jobRecords.wasDeleted(id));
  parts.openSegment(segment);
  parts.indexes.expect({ id, segment, isReduced: spec.task.reduce !== undefined });
  try {
    await parts.asks.ask((ask) =>
      parts.enqueue({ kind: "jobSubmitted", id, user: localUser, spec, segment, ask }),
    );
  } catch (error) {
    parts.indexes.forget(id, segment);
    throw error;
  } finally {
    // Refused, or the same request came twice and the other was first.
    if (parts.state.jobs.get(id)?.segment !== segment)
      await parts.segments.jobDeleted(id, segment).catch(() => {}); // swept later
  }
}

export async function mustHaveBundle(parts: ControlParts, bundle: BundleDigest | undefined): Promise<void> {
  if (bundle === undefined || (await parts.bundles.has(localUser, bundle))) return;
  throw new EverycoreError("not-found", `the bundle ${bundle} was not uploaded`, {
    hint: "upload it with PutBundle first",
  });
}

async function appendBlock(
  parts: ControlParts,
  options: {
    job: Job;
    input: InputWriter;
    block: NonNullable<SubmitRequest["block"]>;
    signal: AbortSignal;
  },
): Promise<void> {
  const { job, input, block, signal } = options;
  if (job.spec.codec === "range")
    throw new EverycoreError("bad-input", `job ${job.id} is a range and takes no blocks`);
  const { first, count, data } = block;
  if (new PackedEntries(data).count !== count || count < 1 || count > limits.blockItemsMax) {
    throw new EverycoreError(
      "bad-input",
      `a block of job ${job.id} does not hold the ${count} items it claims`,
    );
  }
  if (data.length > limits.blockBytesMax + 4 * (count + 2) && count > 1) {
    throw new EverycoreError(
      "over-limit",
      `a block of ${count} items has ${data.length} bytes, more than ${limits.blockBytesMax}`,
    );
  }
  if (first + count <= input.appended) return; // S2: stored before its stream broke
  mustTakeInput(parts, job);
  if (first !== input.appended) {
    throw new EverycoreError(
      "bad-input",
      `the next item of job ${job.id} is ${input.appended}, not ${first}`,
    );
  }
  if (first + count > limits.jobItemsMax) {
    throw new EverycoreError("over-limit", `a job may have at most ${limits.jobItemsMax} items`);
  }
  const seqs = await input.block({ first, count, data }, signal);
  // The lease that follows at once finds it here.
  const subject = subjects.input(job.segment, job.id);
  for (const [piece, seq] of seqs.entries()) {
    const from = piece * limits.messageBytesMax;
    parts.bodies.keep(job.segment, seq, {
      subject,
      data: data.subarray(from, from + limits.messageBytesMax),
    });
  }
}

function mustTakeInput(parts: ControlParts, job: Job): void {
  parts.mustLead();
  if (parts.state.jobs.get(job.id) !== job)
    throw new EverycoreError("no-leader", "the leader changed meanwhile");
  if (takesInput(job)) return;
  const reason = job.reason === "" ? "" : `: ${job.reason}`;
  throw new EverycoreError("conflict", `job ${job.id} is ${job.state} and takes no more input${reason}`);
}

async function closeInput(
  parts: ControlParts,
  options: { job: Job; input: InputWriter; total: number; signal: AbortSignal },
): Promise<void> {
  const { job, input, total, signal } = options;
  const items = job.spec.rangeItems ?? input.total ?? input.appended;
  if (total !== items) {
    throw new EverycoreError(
      "bad-input",
      `job ${job.id} was closed at ${total} items, but ${items} are stored`,
    );
  }
  if (input.total === undefined) {
    mustTakeInput(parts, job);
    await input.close(total, signal);
  }
  using following = parts.changes.follow(
    jobKey(job.id),
    AbortSignal.any([signal, AbortSignal.timeout(foldMs)]),
  );
  const isFolded = (): boolean =>
    (job.fold.total ?? job.finalTotal) !== undefined || parts.state.jobs.get(job.id) !== job;
  const deadline = performance.now() + foldMs;
  while (!isFolded() && performance.now() < deadline) await following.changed(following.version());
}
