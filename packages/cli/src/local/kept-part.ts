/**
 * One process of a local cluster that is kept running.
 *
 *  K1  when it dies it is started again, after a wait that doubles from 200 ms to 10 s; a part that ran for half a
 *      minute has earned the short wait again. Each time a person is told;
 *  K2  one that ended in order because somebody asked for it (a drained agent) stays away;
 *  K3  closing ends it, whatever phase it is in, and leaves no process behind.
 */
import { setTimeout as delay } from "node:timers/promises";
import { EverycoreError } from "@everycore/protocol";
import type { StopKind } from "./child.ts";
import type { Started } from "./parts.ts";

const restartMs = { first: 200, max: 10_000, calmAfter: 30_000 };

export interface Closable {
  close(kind: StopKind): Promise<void>;
}

type StartPart<Ready> = (previous: Ready | undefined, signal: AbortSignal) => Promise<Started<Ready>>;

/** A part that is kept running until it is closed. */
export class KeptPart<Ready> implements Closable {
  readonly #name: string;
  readonly #start: StartPart<Ready>;
  readonly #say: (line: string) => void;
  readonly #isMeant: (how: string) => boolean;
  readonly #closing = new AbortController();
  #stopKind: StopKind = "orderly";
  #opening: Promise<Started<Ready>> | undefined;
  #keeping: Promise<void> | undefined;

  constructor(options: {
    name: string;
    say: (line: string) => void;
    start: StartPart<Ready>;
    /** K2, by how it ended; by default nothing that ends is meant to. */
    isMeant?: (how: string) => boolean;
  }) {
    this.#name = options.name;
    this.#isMeant = options.isMeant ?? (() => false);
    this.#say = options.say;
    this.#start = options.start;
  }

  async open(signal: AbortSignal): Promise<Ready> {
    this.#opening = this.#start(undefined, AbortSignal.any([signal, this.#closing.signal]));
    const started = await this.#opening;
    this.#keeping = this.#keep(started);
    return started.ready;
  }

  async close(kind: StopKind): Promise<void> {
    this.#stopKind = kind;
    this.#closing.abort(new EverycoreError("cancelled", `${this.#name} is ended`));
    await this.#opening?.catch(() => {}); // whoever opened it has heard why
    await this.#keeping;
  }

  /** K1 to K3. Ends with the part, and sees to it that no process is left. */
  async #keep(first: Started<Ready>): Promise<void> {
    const { signal } = this.#closing;
    const closing = Promise.withResolvers<"closing">();
    signal.addEventListener("abort", () => closing.resolve("closing"), { once: true });
    let current: Started<Ready> | undefined = first;
    let waitMs = restartMs.first;
    while (current !== undefined) {
      const startedAt = performance.now();
      const how: string = await Promise.race([current.child.ended, closing.promise]);
      if (signal.aborted) return current.child.stop(this.#stopKind);
      if (performance.now() - startedAt > restartMs.calmAfter) waitMs = restartMs.first;
      if (this.#isMeant(how)) return this.#say(`${this.#name} was drained and has ended; it stays away`);
      this.#say(`${this.#name} ended (${how}); it is started again`);
      const { ready }: Started<Ready> = current;
      current = undefined;
      while (current === undefined && !signal.aborted) {
        await delay(waitMs, undefined, { signal }).catch(() => {});
        waitMs = Math.min(restartMs.max, waitMs * 2);
        current = signal.aborted ? undefined : await this.#again(ready);
      }
    }
  }

  async #again(previous: Ready): Promise<Started<Ready> | undefined> {
    try {
      return await this.#start(previous, this.#closing.signal);
    } catch (error) {
      const [sentence] = (error as Error).message.split("\n");
      if (!this.#closing.signal.aborted) this.#say(`${this.#name} could not be started again: ${sentence}`);
      return undefined;
    }
  }
}
