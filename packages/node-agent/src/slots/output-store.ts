/**
 * What tasks print, per job, slot and stream, in files; bounded per job, drops counted (P7). Never in the log:
 * output is for people, outcomes are for programs.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { JobId } from "@everycore/protocol";
import { limits } from "@everycore/protocol";

export type OutputStream = "stdout" | "stderr";

export interface OutputPiece {
  readonly slot: number;
  readonly stream: OutputStream;
  readonly data: Buffer;
}

export class OutputStore {
  readonly #dir: string;
  readonly #jobs = new Map<JobId, { bytes: number; dropped: number }>();
  /** Ended jobs that printed something, the oldest first. */
  readonly #ended = new Set<JobId>();

  constructor(dir: string) {
    this.#dir = dir;
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  append(from: { job: JobId; slot: number; stream: OutputStream }, data: Buffer): void {
    const dir = join(this.#dir, from.job);
    this.#ended.delete(from.job); // it is retried
    let held = this.#jobs.get(from.job);
    if (held === undefined) this.#jobs.set(from.job, (held = { bytes: 0, dropped: 0 }));
    const room = Math.max(0, limits.outputBytesPerJob - held.bytes);
    const kept = data.subarray(0, room);
    held.dropped += data.length - kept.length;
    if (kept.length === 0) return;
    try {
      if (held.bytes === 0) mkdirSync(dir, { recursive: true, mode: 0o700 });
      appendFileSync(join(dir, `${from.slot}.${from.stream}`), kept);
      held.bytes += kept.length;
    } catch {
      held.dropped += kept.length; // a full disk costs prints, never outcomes
    }
  }

  read(job: JobId): { pieces: OutputPiece[]; dropped: number } {
    const dir = join(this.#dir, job);
    const pieces: OutputPiece[] = [];
    if (existsSync(dir)) {
      for (const name of readdirSync(dir).sort()) {
        const [slot, stream] = name.split(".");
        pieces.push({
          slot: Number(slot),
          stream: stream as OutputStream,
          data: readFileSync(join(dir, name)),
        });
      }
    }
    return { pieces, dropped: this.#jobs.get(job)?.dropped ?? 0 };
  }

  /** The job is over. What it printed stays readable until newer ended jobs need the room. */
  end(job: JobId): void {
    const held = this.#jobs.get(job);
    if (held === undefined) return;
    this.#ended.delete(job); // ended again, after a retry: the newest now
    this.#ended.add(job);
    let bytes = 0;
    for (const id of this.#ended) bytes += this.#jobs.get(id)?.bytes ?? 0;
    while (bytes > limits.outputBytesEnded || this.#ended.size > limits.outputJobsEnded)
      bytes -= this.#forgetOldest();
  }

  /** Frees at least so many bytes of what ended jobs have printed, if there are; returns how many. */
  evict(bytes: number): number {
    let freed = 0;
    while (freed < bytes && this.#ended.size > 0) freed += this.#forgetOldest();
    return freed;
  }

  #forgetOldest(): number {
    const [oldest] = this.#ended;
    if (oldest === undefined) return 0;
    const bytes = this.#jobs.get(oldest)?.bytes ?? 0;
    this.#ended.delete(oldest);
    this.#jobs.delete(oldest);
    rmSync(join(this.#dir, oldest), { recursive: true, force: true });
    return bytes;
  }
}
