/** Worker host of the runtime `js`. A second argument `--stop` stops an attached debugger in front of the task. */
import { JsRunner } from "./js-runner.ts";
import { serve } from "./serve.ts";

/**
 * Prints go out when they are made. Node queues what a pipe does not take at once, and writes it when the task yields:
 * a task that never does, or that dies, would lose it, uncounted.
 */
for (const stream of [process.stdout, process.stderr]) {
  // Not in Node's documentation, though many rely on it.
  const { _handle: handle } = stream as { _handle?: { setBlocking?: (isBlocking: boolean) => number } };
  handle?.setBlocking?.(true);
}

const stops = process.argv[3] === "--stop";
serve(process.argv[2] ?? "", { newRunner: () => new JsRunner({ stops }), rehearses: true });
