/** The life of a worker host as a process: its link, its slot, its loop. Ends with its agent. */
import { flushCompileCache } from "node:module";
import { FrameLink } from "./frames.ts";
import type { Runner } from "./loop.ts";
import { WorkerLoop } from "./loop.ts";
import { rehearse } from "./rehearsal.ts";
import { Slot } from "./slot.ts";

/** A host that nobody has given work so soon is a spare, and has time. */
const spareAfterMs = 20;

export interface HostOptions {
  readonly newRunner: () => Runner;
  /** Spares rehearse: see rehearsal.ts. */
  readonly rehearses: boolean;
}

export function serve(directory: string, { newRunner, rehearses }: HostOptions): void {
  process.on("SIGINT", () => {});
  const slot = new Slot(directory);
  let isSpare = true;
  const loop = new WorkerLoop(newRunner(), slot, (frame) => link.send(frame));
  const link = new FrameLink((frame) => {
    isSpare = false;
    void loop.take(frame);
  });
  slot.setPhase("idle");
  link.send({ t: "ready", pid: process.pid, version: process.version });
  // Workers are killed more often than they end: the compiled host is kept as soon as there is one.
  const keep = process.env["NODE_COMPILE_CACHE"] === undefined ? (): void => {} : flushCompileCache;
  setImmediate(keep);
  // The cache is the host's: programs that tasks start get the environment they would have without us.
  delete process.env["NODE_COMPILE_CACHE"];
  if (!rehearses) return;
  setTimeout(() => {
    if (isSpare) void rehearse(directory, newRunner).then(keep);
  }, spareAfterMs);
}
