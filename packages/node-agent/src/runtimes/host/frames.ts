/** Frames on fd 3: u32 little-endian length + msgpack. The parent's death ends this process at once. */
import { Socket } from "node:net";
import { decode, encode, limits } from "@everycore/protocol/worker";
import type { FromWorker, ToWorker } from "@everycore/protocol/worker";

const linkFd = 3;

export class FrameLink {
  readonly #socket = new Socket({ fd: linkFd, readable: true, writable: true });
  #pending: Buffer = Buffer.alloc(0);

  constructor(onFrame: (frame: ToWorker) => void) {
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk, onFrame));
    const gone = (): never => process.exit(0);
    this.#socket.on("end", gone);
    this.#socket.on("close", gone);
    this.#socket.on("error", gone);
  }

  send(frame: FromWorker): void {
    const body = encode(frame);
    const head = Buffer.allocUnsafe(4);
    head.writeUInt32LE(body.length, 0);
    this.#socket.write(Buffer.concat([head, body]));
  }

  #take(chunk: Buffer, onFrame: (frame: ToWorker) => void): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= 4) {
      const length = this.#pending.readUInt32LE(0);
      // Only our agent writes here: a longer frame means that the two do not belong together.
      if (length > limits.workerFrameBytesMax) process.exit(70);
      if (this.#pending.length < 4 + length) return;
      // Copied: items are views of the frame and may outlive it.
      const frame = decode(Buffer.from(this.#pending.subarray(4, 4 + length))) as ToWorker;
      this.#pending = this.#pending.subarray(4 + length);
      onFrame(frame);
    }
  }
}
