/**
 * The partials of a reduced job, in order, as one packed block: what the worker that combines them is given.
 * An entry is  u64 start | u8 level | u32 missing | u8 codec | bytes  (little-endian); level is log2 of the span.
 */
import { packEntries } from "@everycore/protocol";
import type { Bodies } from "./bodies.ts";
import { BodyEntries } from "./entry-slice.ts";
import type { JobIndex } from "./job-index.ts";
import { wholePayload } from "./job-reader.ts";

const headBytes = 14;

export async function packPartials(
  index: JobIndex,
  bodies: Pick<Bodies, "get">,
  total: number,
): Promise<Buffer> {
  const entries: Buffer[] = [];
  for (const run of index.spans({ start: 0, end: total })) {
    const body = new BodyEntries((await bodies.get(index.segment, run.seq)).data);
    const { codec, payload } = await wholePayload(body.entry(run.entry), { index, bodies });
    const entry = Buffer.allocUnsafe(headBytes + payload.length);
    entry.writeBigUInt64LE(BigInt(run.start), 0);
    entry[8] = Math.log2(run.end - run.start);
    entry.writeUInt32LE(run.missing, 9);
    entry[13] = codec;
    entry.set(payload, headBytes);
    entries.push(entry);
  }
  return packEntries(entries);
}
