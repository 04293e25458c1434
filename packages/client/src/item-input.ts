/**
 * One item of a job as it was submitted, and the code that runs it: for whoever runs it again away from the cluster.
 * Both are checked on arrival: the item by its announced size, the bundle by its digest.
 */
import { createHash } from "node:crypto";
import { decodeSpec, EverycoreError, limits } from "@everycore/protocol";
import type { BundleDigest, JobSpec } from "@everycore/protocol";
import type { CallOptions, Channel } from "./channel.ts";
import type { ItemResponse } from "./wire-types.ts";

export interface ItemInput {
  /** The whole id. */
  readonly job: string;
  readonly spec: JobSpec;
  /** In the codec of the specification; empty for an item of a range. */
  readonly bytes: Buffer;
}

export async function readItemInput(
  channel: Channel,
  request: { readonly job: string; readonly index: number },
  options: CallOptions,
): Promise<ItemInput> {
  const { job, index } = request;
  let head: ItemResponse["head"];
  const pieces: Buffer[] = [];
  let received = 0;
  for await (const message of channel.stream<ItemResponse>("JobService", "Item", { job, index }, options)) {
    if (message.head) head = message.head;
    if (message.data === undefined || message.part !== "data") continue;
    received += message.data.length;
    if (received > limits.itemBytesMax)
      throw cutShort(`item ${index} of job ${job} is larger than any may be`);
    pieces.push(message.data);
  }
  if (head === undefined || head.bytes !== received)
    throw cutShort(`item ${index} of job ${job} arrived with ${received} of ${head?.bytes ?? "its"} bytes`);
  return { job: head.job, spec: decodeSpec(head.spec), bytes: Buffer.concat(pieces) };
}

export async function readBundle(
  channel: Channel,
  digest: BundleDigest,
  options: CallOptions,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let received = 0;
  for await (const { data } of channel.stream<{ data: Buffer }>(
    "JobService",
    "GetBundle",
    { digest },
    options,
  )) {
    received += data.length;
    if (received > limits.bundleBytesMax) throw cutShort(`the bundle ${digest.slice(0, 16)} is too large`);
    pieces.push(data);
  }
  const bytes = Buffer.concat(pieces);
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found === digest) return bytes;
  throw cutShort(`the bundle ${digest.slice(0, 16)} arrived with digest ${found.slice(0, 16)}`);
}

const cutShort = (message: string): EverycoreError => new EverycoreError("internal", message);
