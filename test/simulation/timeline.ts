/** Simulated time: things to do, in order of time and then of being planned. */
interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Timeline {
  now = 0;
  readonly #heap: Entry[] = [];
  #order = 0;

  after(delayMs: number, run: () => void): void {
    this.#order += 1;
    this.#push({ at: this.now + Math.max(0, delayMs), order: this.#order, run });
  }

  /** Does the next thing; false when nothing is planned. */
  next(): boolean {
    const entry = this.#pop();
    if (entry === undefined) return false;
    this.now = entry.at;
    entry.run();
    return true;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    heap.push(entry);
    for (let at = heap.length - 1; at > 0;) {
      const parent = (at - 1) >>> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      heap[parent] = entry;
      at = parent;
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    heap[0] = last;
    for (let at = 0; ;) {
      const left = 2 * at + 1;
      if (left >= heap.length) break;
      const least = left + 1 < heap.length && before(heap[left + 1]!, heap[left]!) ? left + 1 : left;
      if (!before(heap[least]!, last)) break;
      heap[at] = heap[least]!;
      heap[least] = last;
      at = least;
    }
    return top;
  }
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
