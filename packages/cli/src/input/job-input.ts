/** Where the items of a job come from, whatever flag said so. */
import type { Codec } from "@everycore/protocol";
import type { ItemSource } from "@everycore/client/internal";
import type { ItemRange } from "./values.ts";

export interface JobInput {
  readonly codec: Codec;
  readonly range: ItemRange | undefined;
  readonly pipe: boolean;
  /** 0: not known. */
  readonly bytes: number;
  source(signal: AbortSignal): ItemSource | undefined;
}
