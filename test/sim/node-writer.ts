/**
 * EC_NODES as the process of a leader writes it (packages/coordinator/src/data/known-nodes.ts): one record after the
 * other, the latest of each node, until it is stored or the term is over; X1 to X3.
 */
import type { NodeId, NodeRecord } from "@everycore/protocol";
import type { Party } from "./partitions.ts";
import type { Store } from "./store.ts";
import type { Timeline } from "./timeline.ts";

const retryMs = 1_000;
/** A write that is sent may land long after its sender's term is over. */
const lateMs = 8_000;

/** undefined: deleted. */
type Wanted = NodeRecord | undefined;

export interface StoredNode {
  readonly record: Wanted;
  /** Of the record, or of the mark of its deletion. */
  readonly revision: number;
}

/** Of one term. */
export class SimNodeWriter {
  readonly #from: Party;
  readonly #store: Store;
  readonly #time: Timeline;
  readonly #epoch: number;
  readonly #goesOn: () => boolean;
  readonly #stepDown: () => void;
  readonly #wanted = new Map<NodeId, { readonly record: Wanted }>();
  readonly #revisions: Map<NodeId, number>;
  readonly #deleting = new Set<NodeId>();
  #isWriting = false;

  constructor(options: {
    from: Party;
    store: Store;
    time: Timeline;
    epoch: number;
    /** As they were when this term listed them. */
    listed: ReadonlyMap<NodeId, StoredNode>;
    goesOn: () => boolean;
    stepDown: () => void;
  }) {
    this.#from = options.from;
    this.#store = options.store;
    this.#time = options.time;
    this.#epoch = options.epoch;
    this.#goesOn = options.goesOn;
    this.#stepDown = options.stepDown;
    this.#revisions = new Map([...options.listed].map(([id, { revision }]) => [id, revision]));
  }

  write(id: NodeId, record: Wanted): void {
    this.#wanted.set(id, { record });
    if (!this.#isWriting) this.#next();
  }

  #next(): void {
    const [next] = this.#wanted;
    this.#isWriting = next !== undefined;
    if (next === undefined) return;
    const [id, wanted] = next;
    this.#try(id, wanted.record, () => {
      if (this.#wanted.get(id) === wanted) this.#wanted.delete(id);
      this.#next();
    });
  }

  #try(id: NodeId, record: Wanted, done: () => void): void {
    const sent = this.#revisions.get(id) ?? 0;
    // Nobody has written it.
    if (record === undefined && sent === 0) return done();
    if (record === undefined) this.#deleting.add(id);
    this.#store.request({
      from: this.#from,
      act: () => this.#store.writeNode(id, record, sent),
      answer: (stored) => {
        if (!this.#goesOn()) return;
        if (stored === undefined) return this.#look(id, { record, sent, done });
        this.#known(id, stored);
        done();
      },
      slowMs: lateMs,
    });
  }

  /** What came of a write that was refused, or whose answer was lost. */
  #look(id: NodeId, of: { record: Wanted; sent: number; done: () => void }): void {
    const { record, sent, done } = of;
    const later = (): void => this.#time.after(retryMs, () => this.#goesOn() && this.#try(id, record, done));
    this.#store.request({
      from: this.#from,
      act: () => this.#store.nodes.get(id) ?? { record: undefined, revision: 0 },
      answer: (there) => {
        if (!this.#goesOn()) return;
        if (there === undefined) return later();
        const isAsWanted = record === undefined && there.record === undefined;
        if (!isAsWanted && there.revision !== sent && !this.#isOurs(id, there)) return this.#stepDown();
        this.#known(id, there.revision);
        if (isAsWanted || there.record === record) done();
        else later();
      },
      slowMs: lateMs,
    });
  }

  #isOurs(id: NodeId, { record }: StoredNode): boolean {
    return record === undefined ? this.#deleting.has(id) : record.epoch === this.#epoch;
  }

  #known(id: NodeId, revision: number): void {
    this.#deleting.delete(id);
    this.#revisions.set(id, revision);
  }
}
