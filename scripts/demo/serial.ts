/** A check's other side: one process that does the same work, item after item. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";

export interface SerialRun {
  readonly stdout: string;
  readonly seconds: number;
}

/** Runs a program to its end with `input` as its stdin. It is killed when `signal` aborts, or with us. */
export async function runSerially(options: {
  command: string;
  args: readonly string[];
  input: string;
  signal: AbortSignal;
}): Promise<SerialRun> {
  const { command, args, input, signal } = options;
  const startedAt = performance.now();
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], signal, killSignal: "SIGKILL" });
  child.stdin.on("error", () => {}); // it ended early: its exit code tells
  child.stdin.end(input);
  const [stdout, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  if (code !== 0) throw new Error(`${command} ended with exit code ${String(code)}`);
  return { stdout, seconds: (performance.now() - startedAt) / 1000 };
}
