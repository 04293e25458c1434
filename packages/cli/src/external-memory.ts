/**
 * Buffers of more than a few KB lie outside of V8's heap, and by default V8 marks its whole heap anew for each 64 MB
 * of them: at items of 1 MB that was more than half of all CPU. Counted into the limits of the heap they are collected
 * as often as anything else. For our own processes only; a program that uses the client keeps its own settings.
 */
import { setFlagsFromString } from "node:v8";

/** To be called before much is loaded. A V8 that does not know the flag would complain on stderr. */
export function countBuffersAsHeap(): void {
  if (!process.versions.v8.startsWith("13.")) return; // tried with that of Node 24
  setFlagsFromString("--external-memory-accounted-in-global-limit");
  setFlagsFromString("--no-flush-bytecode"); // else each of those collections looks at every function's age
}
