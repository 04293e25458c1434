/** Who waits for something to change hears of it: readers and watchers by job, without polling. */

export interface Follower extends Disposable {
  /** Rises with each change. */
  version(): number;
  /** Resolves once `version()` is no longer `seen`, or the signal is aborted. */
  changed(seen: number): Promise<void>;
}

interface Waiting {
  version: number;
  wake: PromiseWithResolvers<void>;
}

export class Changes {
  readonly #followers = new Map<string, Set<Waiting>>();

  touch(key: string): void {
    for (const waiting of this.#followers.get(key) ?? []) bump(waiting);
  }

  /** Everything may have changed: another term began or ended. */
  touchAll(): void {
    for (const followers of this.#followers.values()) for (const waiting of followers) bump(waiting);
  }

  follow(key: string, signal: AbortSignal): Follower {
    const waiting: Waiting = { version: 0, wake: Promise.withResolvers() };
    const followers = this.#followers.get(key) ?? new Set();
    followers.add(waiting);
    this.#followers.set(key, followers);
    const abort = (): void => bump(waiting);
    signal.addEventListener("abort", abort, { once: true });
    return {
      version: () => waiting.version,
      changed: (seen) =>
        waiting.version === seen && !signal.aborted ? waiting.wake.promise : Promise.resolve(),
      [Symbol.dispose]: () => {
        signal.removeEventListener("abort", abort);
        followers.delete(waiting);
        if (followers.size === 0 && this.#followers.get(key) === followers) this.#followers.delete(key);
      },
    };
  }
}

function bump(waiting: Waiting): void {
  waiting.version += 1;
  waiting.wake.resolve();
  waiting.wake = Promise.withResolvers();
}
