/** Items of a map inline as they are read: runs of neighbours, bounded by what one read of the input gives. */
import type { JobInput } from "../input/job-input.ts";

/** Items [first, first + count): their bytes, or none for integers of a range. */
export interface ItemRun {
  readonly first: number;
  readonly count: number;
  readonly bytes?: readonly Uint8Array[];
}

export async function* itemRuns(input: JobInput, signal: AbortSignal): AsyncGenerator<ItemRun> {
  const source = input.source(signal);
  if (source === undefined) {
    yield { first: 0, count: input.range?.items ?? 0 };
    return;
  }
  let first = 0;
  for await (const bytes of source) {
    yield { first, count: bytes.length, bytes };
    first += bytes.length;
  }
}
