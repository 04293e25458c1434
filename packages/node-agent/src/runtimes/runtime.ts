/** What a runtime is to the agent: how it is found on this machine, and how its host is started. */
import type { Runtime } from "@everycore/protocol";

/** How to start a worker host. */
export interface StartCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A runtime that this machine has. */
export interface FoundRuntime {
  /** js, python, exec. */
  readonly name: Runtime;
  readonly version: string;
  /** The interpreter. */
  readonly path: string;
}

export interface RuntimeSupport {
  discover(): Promise<FoundRuntime[]>;
  /** `interpreters`: all that was found. */
  start(slotDir: string, found: FoundRuntime, interpreters: readonly FoundRuntime[]): StartCommand;
}
