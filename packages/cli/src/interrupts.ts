/**
 * Ctrl-C: the first one asks, by aborting a signal; the second leaves at once (130). SIGTERM and SIGHUP ask too.
 */
import { Interrupted, exitCodes } from "./failure.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Interrupts implements Disposable {
  readonly #asked = new AbortController();
  readonly #handle: (name: NodeJS.Signals) => void;
  #leavesCtrlC = false;

  /** `what` the first Ctrl-C means to this command; `say` is shown on it. */
  constructor(what: "cancel" | "leave", say = "") {
    this.#handle = (name) => {
      if (name === "SIGINT" && this.#leavesCtrlC) return;
      if (this.#asked.signal.aborted) process.exit(exitCodes.left);
      if (say !== "") process.stderr.write(`${say}\n`);
      this.#asked.abort(new Interrupted(what));
    };
    for (const name of signals) process.on(name, this.#handle);
  }

  /** Ctrl-C is for the program that has our terminal, such as pdb. */
  static leavingCtrlC(what: "cancel" | "leave"): Interrupts {
    const interrupts = new Interrupts(what);
    interrupts.#leavesCtrlC = true;
    return interrupts;
  }

  get signal(): AbortSignal {
    return this.#asked.signal;
  }

  [Symbol.dispose](): void {
    for (const name of signals) process.off(name, this.#handle);
  }
}
