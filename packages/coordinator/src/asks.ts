/** Commands on their way through the core: the number of an ask stands for whoever waits for its answer. */
import { EverycoreError } from "@everycore/protocol";
import type { Answer } from "./core/index.ts";

const answerMs = 15_000;

export class Asks {
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  #last = 0;

  /** Calls `send` with the number of a new ask; gives the core's answer, or throws what it refused (P5: in time). */
  async ask(send: (ask: number) => void): Promise<Answer & { ok: true }> {
    this.#last += 1;
    const number = this.#last;
    const waiting = Promise.withResolvers<Answer>();
    this.#waiting.set(number, waiting);
    const timer = setTimeout(() => {
      const message = "the leader could not store the command in time: is NATS away?";
      waiting.reject(new EverycoreError("unreachable", message, { hint: "try again" }));
    }, answerMs);
    try {
      send(number);
      const answer = await waiting.promise;
      if (answer.ok) return answer;
      throw new EverycoreError(answer.code, answer.message, { hint: answer.hint });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(number);
    }
  }

  answer(ask: number, answer: Answer): void {
    this.#waiting.get(ask)?.resolve(answer);
  }

  /** The term is over: whether the commands count is for the next leader to say. */
  rejectAll(): void {
    for (const waiting of this.#waiting.values()) {
      waiting.reject(
        new EverycoreError("no-leader", "the coordinator lost its lead while it worked on this"),
      );
    }
  }
}
