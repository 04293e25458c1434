/** W1, W2: the leader's own records, one of a job at a time, each tried until it is stored or the term ends. */
import type { JobId, LogRecord } from "@everycore/protocol";
import type { Party } from "./partitions.ts";
import type { Store } from "./store.ts";

export class SimWriter {
  readonly #from: Party;
  readonly #store: Store;
  readonly #chains = new Map<JobId, LogRecord[]>();

  constructor(from: Party, store: Store) {
    this.#from = from;
    this.#store = store;
  }

  append(record: LogRecord, goesOn: () => boolean): void {
    const chain = this.#chains.get(record.job) ?? [];
    this.#chains.set(record.job, chain);
    chain.push(record);
    if (chain.length === 1) this.#next(chain, goesOn);
  }

  #next(chain: LogRecord[], goesOn: () => boolean): void {
    const [next] = chain;
    if (next === undefined) return;
    const stored = (): void => {
      chain.shift();
      this.#next(chain, goesOn);
    };
    this.#store.append(next, { from: this.#from, goesOn, stored });
  }

  /** The term is over. */
  clear(): void {
    this.#chains.clear();
  }
}
