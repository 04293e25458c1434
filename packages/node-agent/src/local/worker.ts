/**
 * A worker of one job on the user's own machine, without an agent: what `job replay` and `map --inline` run items by.
 * It is the published host, loader and codec in either case: a process of its own (host-worker.ts), or JavaScript in
 * the caller's process (own-worker.ts).
 */
import type { DeathDetail, ErrorInfo, SlotRecord, TaskSpec } from "@everycore/protocol";

/** Items [start, end) of one job, in the codec of its number; or the one item that combines all partials. */
export interface LocalSlice {
  readonly start: number;
  readonly end: number;
  readonly codec: number;
  /** Packed block of exactly [start, end); none for a range. */
  readonly block?: Uint8Array;
  /** Packed block of partials. */
  readonly partials?: Uint8Array;
  readonly reduced: boolean;
}

export interface LocalSliceEnd {
  /** What it appended, in order, without its head. Views: copy what must outlive the next slice. */
  readonly records: readonly SlotRecord[];
  /** Its worker died in it: the item after the last record was running, unless `isDiskFull`. */
  readonly death?: DeathDetail;
  readonly isDiskFull?: boolean;
}

export interface LocalTask {
  readonly job: string;
  readonly task: TaskSpec;
  /** Folder of the unpacked bundle. */
  readonly dir?: string;
}

export interface LocalWorker extends AsyncDisposable {
  /** Throws LoadFailure. */
  load(task: LocalTask): Promise<void>;
  /** One at a time. */
  run(slice: LocalSlice): Promise<LocalSliceEnd>;
  /** Items that the running slice has ended, for a process at its end: the slice's own end would not tell them again. */
  endedSoFar(): number;
  /** No further item of the running slice begins. */
  halt(): void;
}

/** The task cannot be loaded here. */
export class LoadFailure extends Error {
  readonly info: ErrorInfo;

  constructor(info: ErrorInfo) {
    super(info.name === "EverycoreError" ? info.message : `${info.name}: ${info.message}`);
    this.info = info;
  }
}
