/** How a map inline stands, in the words of a cluster's job: summaries, progress, halts and exit codes are the same. */
import type { Counts, JobInfo, Outcome } from "@everycore/client/internal";
import { emptyCounts } from "@everycore/protocol";
import type { JobSpec, JobState } from "@everycore/protocol";

export class Tally {
  readonly #job: string;
  readonly #spec: JobSpec;
  readonly #counts: { -readonly [Kind in keyof Counts]: number } = emptyCounts();
  readonly #startedAt = Date.now();
  /** 0 while the input is open. */
  total: number;
  state: JobState = "running";
  reason = "";

  constructor(job: string, spec: JobSpec) {
    this.#job = job;
    this.#spec = spec;
    this.total = spec.rangeItems ?? 0;
  }

  add({ status }: Pick<Outcome, "status">, items = 1): void {
    this.#counts[status] += items;
  }

  get info(): JobInfo {
    const { name, codec, task } = this.#spec;
    const counts = { ...this.#counts };
    const failed = Object.values(counts).reduce((sum, count) => sum + count, 0) - counts.value;
    return {
      id: this.#job,
      name,
      user: "local",
      state: this.state,
      reason: this.reason,
      runtime: task.runtime,
      task: name,
      total: this.total,
      appended: this.total,
      counts,
      leased: 0,
      missing: task.reduce === undefined ? 0 : failed,
      createdAt: this.#startedAt,
      startedAt: this.#startedAt,
      endedAt: 0,
      round: 0,
      retries: 0,
      strikes: 0,
      duplicates: 0,
      itemMs: 0,
      usage: [],
      leasesSent: 0,
      codec,
      reduced: task.reduce !== undefined,
      seed: task.seed,
      bundle: task.bundle ?? "",
      repairs: [],
      jobTimeoutMs: 0,
      ranMs: 0,
      maxFailures: "",
      outputBytes: 0,
    };
  }
}
