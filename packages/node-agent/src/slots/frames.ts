/** Frames on fd 3: u32 little-endian length + msgpack (proto/data-plane.md "Worker frames"). */
import type { FromWorker, ToWorker } from "@everycore/protocol";
import {
  bytes,
  count,
  decode,
  encode,
  EverycoreError,
  fieldsOf,
  limits,
  number,
  oneOf,
  text,
} from "@everycore/protocol";

export function encodeFrame(frame: ToWorker): Buffer {
  const body = encode(frame);
  if (body.length > limits.workerFrameBytesMax) {
    throw new EverycoreError(
      "over-limit",
      `a frame of ${body.length} bytes to a worker is more than workerFrameBytesMax`,
    );
  }
  const framed = Buffer.allocUnsafe(4 + body.length);
  framed.writeUInt32LE(body.length, 0);
  body.copy(framed, 4);
  return framed;
}

/** Cuts a stream of bytes into frames; throws EverycoreError for whatever is none. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): FromWorker[] {
    let bytesLeft = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: FromWorker[] = [];
    while (bytesLeft.length >= 4) {
      const length = bytesLeft.readUInt32LE(0);
      if (length > limits.workerFrameBytesMax)
        throw new EverycoreError("bad-input", `a worker sent a frame of ${length} bytes`);
      if (bytesLeft.length < 4 + length) break;
      frames.push(parseFrame(bytesLeft.subarray(4, 4 + length)));
      bytesLeft = bytesLeft.subarray(4 + length);
    }
    this.#rest = Buffer.from(bytesLeft);
    return frames;
  }
}

function parseFrame(data: Buffer): FromWorker {
  const what = "worker frame";
  const fields = fieldsOf(decode(data), what);
  const t = oneOf(fields, "t", what, ["ready", "loaded", "initFailed", "sliceEnded"]);
  switch (t) {
    case "ready":
      return { t, pid: count(fields, "pid", what), version: text(fields, "version", what) };
    case "loaded":
      return { t };
    case "initFailed":
      return { t, error: bytes(fields, "error", what) };
    case "sliceEnded":
      return {
        t,
        slice: count(fields, "slice", what),
        at: count(fields, "at", what),
        busyMs: Math.max(0, number(fields, "busyMs", what)),
        cpuMs: Math.max(0, number(fields, "cpuMs", what)),
      };
  }
}
