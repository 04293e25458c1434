/** Simulated time: what is to happen, in the order of its moment, then of its entry. Nothing here waits. */

/** What clocks show when a history begins; they may be set back by less. */
export const startsAtMs = 1_000_000_000;

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

export class Timeline {
  /** ms */
  now = 0;
  #order = 0;
  readonly #heap: Entry[] = [];

  after(ms: number, act: () => void): void {
    this.at(this.now + ms, act);
  }

  at(moment: number, act: () => void): void {
    const heap = this.#heap;
    const entry = { at: Math.max(moment, this.now), order: (this.#order += 1), act };
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Repeats until `act` gives false. */
  every(ms: number, act: () => boolean): void {
    this.after(ms, () => {
      if (act()) this.every(ms, act);
    });
  }

  /** The next thing happens; false when there is none up to `until`. */
  step(until: number): boolean {
    const first = this.#heap[0];
    if (first === undefined || first.at > until) return false;
    this.#removeFirst();
    this.now = first.at;
    first.act();
    return true;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const entry = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, entry)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = entry;
  }
}
