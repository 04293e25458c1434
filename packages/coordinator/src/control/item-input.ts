/**
 * What runs one item again away from the cluster: its job's specification, its input and its bundle, to whoever may
 * read the job. Nothing is leased and nothing is recorded.
 */
import type { BlockRef, BundleDigest } from "@everycore/protocol";
import {
  encodeSpec,
  EverycoreError,
  PackedEntries,
  shortId,
  subjects,
  taskOfRound,
} from "@everycore/protocol";
import type { Job } from "../core/model.ts";
import type { ControlParts } from "./parts.ts";
import { foldedJob } from "./folded-job.ts";
import { findJob, localUser } from "./parts.ts";
import type { Message } from "./handlers.ts";

const pieceBytes = 512 * 1024;

export interface ItemRequest {
  readonly job: string;
  readonly index: number;
}

interface Writing {
  readonly write: (message: Message) => Promise<void>;
  readonly signal: AbortSignal;
}

export async function itemInput(
  parts: ControlParts,
  { job: typed, index }: ItemRequest,
  writing: Writing,
): Promise<void> {
  const id = findJob(parts, typed);
  const job = await foldedJob(parts, id, writing.signal);
  mustHave(job, index);
  const item = job.spec.codec === "range" ? undefined : await entryOf(parts, job, index);
  // The code that ran it last, or will run it next.
  const spec = { ...job.spec, task: taskOfRound(job, job.fold.roundOf(index)) };
  await writing.write({ head: { job: id, spec: encodeSpec(spec), bytes: item?.length ?? 0 } });
  if (item !== undefined) await writePieces(item, writing);
}

function mustHave(job: Job, index: number): void {
  const total = job.fold.total ?? job.finalTotal;
  const count = total ?? job.fold.appended;
  if (Number.isSafeInteger(index) && index >= 0 && index < count) return;
  const name = `job ${shortId(job.id)}`;
  if (total === undefined)
    throw new EverycoreError("not-found", `${name} has ${count} items so far and no item ${index}`, {
      hint: "wait until more of its input has been read",
    });
  if (job.spec.task.reduce !== undefined && index === total)
    throw new EverycoreError("not-found", `item ${index} of ${name} is its reduction, which has no input`, {
      hint: `replay one of the items 0 to ${total - 1}`,
    });
  const hint = total === 0 ? "" : `its items are 0 to ${total - 1}`;
  throw new EverycoreError("not-found", `${name} has ${total} items and no item ${index}`, { hint });
}

async function entryOf(parts: ControlParts, job: Job, index: number): Promise<Buffer> {
  const block = job.blocks.findLast(({ first }) => first <= index);
  if (block === undefined || index >= block.first + block.count) throw isGone(job, index);
  const packed = new PackedEntries(await blockBytes(parts, job, block, index));
  return packed.entry(index - block.first);
}

async function blockBytes(parts: ControlParts, job: Job, block: BlockRef, index: number): Promise<Buffer> {
  const subject = subjects.input(job.segment, job.id);
  const pieces: Buffer[] = [];
  for (const seq of block.seqs) {
    const body = await parts.bodies.get(job.segment, seq).catch((error: unknown) => {
      throw error instanceof EverycoreError && error.code === "not-found" ? isGone(job, index) : error;
    });
    if (body.subject !== subject) throw isGone(job, index);
    pieces.push(body.data);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

const isGone = (job: Job, index: number): EverycoreError =>
  new EverycoreError(
    "not-found",
    `the input of item ${index} of job ${shortId(job.id)} is gone from its log`,
    {
      hint: "its log was cut or lost; submit the item in a job of its own",
    },
  );

export async function bundleBytes(
  parts: ControlParts,
  digest: BundleDigest,
  writing: Writing,
): Promise<void> {
  const bytes = await parts.bundles.get(localUser, digest);
  if (bytes === undefined)
    throw new EverycoreError("not-found", `the bundle ${digest.slice(0, 16)} is not there any more`, {
      hint: "it goes when no job needs it; submit the task again",
    });
  await writePieces(bytes, writing);
}

async function writePieces(bytes: Buffer, { write, signal }: Writing): Promise<void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    signal.throwIfAborted();
    await write({ data: bytes.subarray(at, at + pieceBytes) });
  }
}
